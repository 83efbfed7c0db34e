/** The dock below the picture and the keyboard: both do the same few things. */

import { byId } from './dom.js';
import { preference } from './preferences.js';

/** @typedef {import('../player.js').Player} Player */
/** @typedef {import('../types.js').LatencyMode} LatencyMode */

/** @type {LatencyMode[]} */
const MODES = ['asap', 'sync', 'smooth'];
const VOLUME_STEP = 0.1;
const STILL_AFTER_MS = 2500;

/** @param {HTMLElement} button @param {boolean} off @param {string} label */
function setToggle(button, off, label) {
  button.toggleAttribute('data-off', off);
  button.setAttribute('aria-label', label);
}

export class Controls {
  #player;
  #root = byId('watch', HTMLElement);
  #mute = byId('mute', HTMLButtonElement);
  #volume = byId('volume', HTMLInputElement);
  #hint = byId('sound-hint', HTMLButtonElement);
  #pause = byId('pause', HTMLButtonElement);
  #mode = byId('mode', HTMLSelectElement);
  #full = byId('fullscreen', HTMLButtonElement);
  #statistics = byId('statistics', HTMLElement);
  #statisticsButton = byId('statistics-button', HTMLButtonElement);
  #help = byId('help', HTMLDialogElement);
  #hasSound = false;
  #playing = false;
  #heard = false;
  #paused = false;
  /** Told when the statistics open or close. @type {(open: boolean) => void} */ onStatistics = () => {};

  /** @param {Player} player */
  constructor(player) {
    this.#player = player;
    this.#wireSound();
    this.#wireRest();
    this.#wireKeys();
    this.#wireStillness();
    this.#mode.value = player.latencyMode;
    this.#volume.value = String(Math.round(preference.volume * 100));
    player.setVolume(preference.volume);
    this.#showSound();
  }

  /** Whether the broadcast has sound at all. @param {boolean} has */
  setHasSound(has) {
    this.#hasSound = has;
    this.#showSound();
  }

  /** Whether there is something to hear now. @param {boolean} playing */
  setPlaying(playing) {
    this.#playing = playing;
    this.#showSound();
  }

  togglePause() {
    this.#paused = !this.#paused;
    if (this.#paused) this.#player.stop();
    else this.#player.start();
    setToggle(this.#pause, this.#paused, this.#paused ? 'Go on live' : 'Pause');
  }

  /** @param {boolean} open */
  showStatistics(open) {
    this.#statistics.hidden = !open;
    this.#root.toggleAttribute('data-statistics', open);
    this.#statisticsButton.setAttribute('aria-expanded', String(open));
    preference.statistics = open;
    this.onStatistics(open);
  }

  #toggleMute() {
    this.#heard = true;
    this.#player.setMuted(!this.#player.muted);
    if (!this.#player.muted && this.#player.volume === 0) this.#setVolume(0.5);
    this.#showSound();
  }

  /** @param {number} volume 0..1 */
  #setVolume(volume) {
    const value = Math.min(1, Math.max(0, volume));
    this.#player.setVolume(value);
    if (value > 0 && this.#player.muted) this.#player.setMuted(false);
    this.#heard = true;
    preference.volume = value;
    this.#showSound();
  }

  #showSound() {
    const silent = this.#player.muted || this.#player.volume === 0;
    setToggle(this.#mute, silent, silent ? 'Turn sound on' : 'Turn sound off');
    if (document.activeElement !== this.#volume) this.#volume.value = String(Math.round(this.#player.volume * 100));
    this.#hint.hidden = !this.#hasSound || !this.#playing || this.#heard || !this.#player.muted;
    this.#mute.disabled = !this.#hasSound;
    this.#volume.disabled = !this.#hasSound;
  }

  #wireSound() {
    this.#mute.addEventListener('click', () => this.#toggleMute());
    this.#hint.addEventListener('click', () => {
      this.#toggleMute();
      this.#mute.focus(); // the hint goes: focus must not go with it
    });
    this.#volume.addEventListener('input', () => this.#setVolume(Number(this.#volume.value) / 100));
    this.#player.addEventListener('sound', () => this.#showSound());
  }

  #wireRest() {
    this.#pause.addEventListener('click', () => this.togglePause());
    this.#mode.addEventListener('change', () => this.#setMode(this.#mode.value));
    this.#statisticsButton.addEventListener('click', () => this.showStatistics(Boolean(this.#statistics.hidden)));
    byId('statistics-close', HTMLButtonElement).addEventListener('click', () => {
      this.showStatistics(false);
      this.#statisticsButton.focus();
    });
    byId('help-button', HTMLButtonElement).addEventListener('click', () => this.#help.showModal());
    byId('help-close', HTMLButtonElement).addEventListener('click', () => this.#help.close());
    this.#help.addEventListener('click', (event) => event.target === this.#help && this.#help.close());
    this.#full.hidden = !document.fullscreenEnabled;
    this.#full.addEventListener('click', () => this.#toggleFull());
    byId('picture', HTMLElement).addEventListener('dblclick', () => this.#toggleFull());
    document.addEventListener('fullscreenchange', () => {
      const on = document.fullscreenElement !== null;
      setToggle(this.#full, on, on ? 'Leave full screen' : 'Full screen');
    });
  }

  /** @param {string} value */
  #setMode(value) {
    const mode = MODES.find((known) => known === value) ?? 'asap';
    this.#mode.value = mode;
    preference.latencyMode = mode;
    this.#player.setLatencyMode(mode);
  }

  #toggleFull() {
    const change = document.fullscreenElement ? document.exitFullscreen() : this.#root.requestFullscreen();
    change.catch(() => {}); // the browser or the embedding page said no: nothing changes
  }

  #wireKeys() {
    /** @type {Record<string, () => void>} */
    const keys = {
      m: () => this.#hasSound && this.#toggleMute(),
      f: () => this.#toggleFull(),
      s: () => this.showStatistics(Boolean(this.#statistics.hidden)),
      l: () => this.#setMode(MODES[(MODES.indexOf(this.#player.latencyMode) + 1) % MODES.length] ?? 'asap'),
      k: () => this.togglePause(),
      ' ': () => this.togglePause(),
      '?': () => this.#help.showModal(),
      arrowup: () => this.#hasSound && this.#setVolume(this.#player.volume + VOLUME_STEP),
      arrowdown: () => this.#hasSound && this.#setVolume(this.#player.volume - VOLUME_STEP),
    };
    document.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || this.#help.open) return;
      const key = event.key.toLowerCase();
      const at = event.target instanceof Element ? event.target : document.body;
      if (at.matches('input[type="text"]')) return; // letters are letters there
      if (at.matches('select, input, [role="group"]') && (key === ' ' || key.startsWith('arrow') || at.matches('select'))) return;
      if (key === ' ' && at.matches('button, a')) return; // it presses that button
      if (key === 'escape' && !this.#statistics.hidden && !document.fullscreenElement) return this.showStatistics(false);
      const action = keys[key];
      if (!action || (event.repeat && !key.startsWith('arrow'))) return;
      event.preventDefault();
      action();
    });
  }

  #wireStillness() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
    const moved = () => {
      this.#root.removeAttribute('data-still');
      clearTimeout(timer);
      timer = setTimeout(() => this.#root.setAttribute('data-still', ''), STILL_AFTER_MS);
    };
    for (const type of ['pointermove', 'pointerdown', 'keydown', 'focusin']) this.#root.addEventListener(type, moved);
  }
}
