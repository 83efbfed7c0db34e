/** What is seen around the picture: state in words, controls, statistics. Loaded once the player runs. */

import { Controls } from './controls.js';
import { byId, gatewayUrl, setText } from './dom.js';
import { formatMs } from './format.js';
import { pollBroadcasts } from './gateway.js';
import { preference } from './preferences.js';
import { Stage } from './stage.js';
import { keepToken } from './token.js';
import { shortState, stageWords, transportWords } from './words.js';

/** @typedef {import('../player.js').Player} Player */
/** @typedef {import('../types.js').PlayerStats} PlayerStats */
/** @typedef {import('./words.js').Summary} Summary */
/** @typedef {import('./words.js').Action} Action */
/** @typedef {{broadcast: string, known: boolean, summary: Summary | null}} PageConfig */

const TICK_MS = 250;

/** @returns {Promise<typeof import('./extras.js')>} not joined to this script */
const loadExtras = () => import(new URL('./extras.js', import.meta.url).href);

/**
 * @param {Player | null} player null: this browser lacks something
 * @param {PageConfig} config
 * @param {import('../support.js').Missing[]} missing
 * @param {Promise<unknown>} pictured when there is time for what is not the picture
 */
export function showPage(player, config, missing, pictured) {
  if (player) {
    const page = new WatchPage(player, config);
    page.begin();
    pictured.then(() => page.addExtras()).catch(() => {}); // the gateway went away: the picture needs none of it
    return;
  }
  for (const control of document.querySelectorAll('.dock button, .dock input, .dock select')) control.setAttribute('disabled', '');
  setText(byId('live', HTMLElement), shortState('failed'));
  byId('live', HTMLElement).dataset.state = 'failed';
  new Stage(byId('message', HTMLElement), actOnPage).sayMissing(missing);
}

/** @param {Action} action */
function actOnPage(action) {
  if (action === 'list') location.assign(gatewayUrl());
  if (action === 'reload') location.reload();
}

class WatchPage {
  #player;
  #config;
  #controls;
  /** @type {import('./statistics.js').Statistics | null} */ #statistics = null;
  /** @type {import('./meters.js').Meters | null} */ #meters = null;
  /** @type {import('./quality.js').Quality | null} */ #quality = null;
  #stage = new Stage(byId('message', HTMLElement), (action) => this.#act(action), (token) => this.#useToken(token));
  #transport = byId('transport', HTMLElement);
  #root = byId('watch', HTMLElement);
  #live = byId('live', HTMLElement);
  /** @type {Summary | null | undefined} */ #summary;
  #reachable = true;
  #retryAt = 0;
  #latency = '';

  /** @param {Player} player @param {PageConfig} config */
  constructor(player, config) {
    this.#player = player;
    this.#config = config;
    this.#summary = config.summary;
    this.#controls = new Controls(player);
    this.#controls.onStatistics = (open) => this.#statistics?.setVisible(open);
  }

  begin() {
    const player = this.#player;
    player.addEventListener('state', () => this.#onState());
    player.addEventListener('stats', (event) => event instanceof CustomEvent && this.#onStats(event.detail));
    player.addEventListener('catalog', (event) => event instanceof CustomEvent && this.#onTracks(event.detail.tracks));
    player.addEventListener('picture', () => this.#show());
    this.#onTracks(this.#summary?.tracks ?? []);
    this.#onState();
    if (preference.statistics) this.#controls.showStatistics(true);
    setInterval(() => this.#retryAt > 0 && this.#show(), TICK_MS);
    const askNow = pollBroadcasts((answer) => this.#onBroadcasts(answer), () => player.state.state !== 'playing');
    if (this.#summary === null) askNow();
  }

  /** Statistics, menu and meters. */
  async addExtras() {
    const { Meters, Quality, Statistics } = await loadExtras();
    this.#statistics = new Statistics(byId('statistics-body', HTMLElement));
    this.#statistics.setVisible(!byId('statistics', HTMLElement).hidden);
    this.#meters = new Meters(byId('meters', HTMLElement), this.#player);
    this.#quality = new Quality(this.#player, this.#config.broadcast);
    this.#show();
  }

  #onState() {
    const { state, retryInMs } = this.#player.state;
    this.#retryAt = retryInMs > 0 ? performance.now() + retryInMs : 0;
    if (state === 'playing') this.#reachable = true;
    else this.#latency = '';
    this.#controls.setPlaying(state === 'playing' || state === 'roaming');
    this.#show();
  }

  /** @param {{kind: string}[]} tracks */
  #onTracks(tracks) {
    if (tracks.length) this.#controls.setHasSound(tracks.some((track) => track.kind === 'audio'));
  }

  /** @param {PlayerStats} stats */
  #onStats(stats) {
    this.#statistics?.update(stats, this.#quality?.current ?? '', performance.now());
    this.#latency = this.#player.view.on && stats.state === 'playing' && stats.latencyMs.p50 > 0 ? formatMs(Math.round(stats.latencyMs.p50)) : '';
    const fallback = stats.transport === 'websocket';
    this.#transport.hidden = !fallback;
    setText(this.#transport, fallback ? transportWords(stats) : '');
    this.#showShort();
  }

  /** @param {import('./gateway.js').Answer} answer */
  #onBroadcasts({ broadcasts, status }) {
    this.#reachable = status !== 0 && status < 500; // not from a proxy before a gateway that is away
    if (broadcasts) {
      const before = this.#summary;
      this.#summary = broadcasts.find((broadcast) => broadcast.name === this.#config.broadcast) ?? null;
      const appeared = before === null && this.#summary !== null;
      if (appeared && this.#player.state.state !== 'stopped') this.#player.retryNow();
    }
    this.#show();
  }

  #show() {
    const { state, message, code } = this.#player.state;
    const retryInMs = this.#retryAt > 0 ? Math.max(0, this.#retryAt - performance.now()) : 0;
    this.#stage.say(stageWords({
      state, message, code, retryInMs, broadcast: this.#config.broadcast, summary: this.#summary, reachable: this.#reachable,
    }));
    const { on, message: why } = this.#player.view;
    this.#root.toggleAttribute('data-sound-only', !on);
    this.#meters?.show(!on && (state === 'playing' || state === 'roaming'), why);
    this.#root.toggleAttribute('data-dim', state !== 'playing' && state !== 'joining');
    this.#root.toggleAttribute('data-late', state === 'roaming');
    this.#showShort();
  }

  #showShort() {
    const { state } = this.#player.state;
    this.#live.dataset.state = state;
    setText(this.#live, this.#latency ? `${shortState(state)} · ${this.#latency.replace('.0', '')}` : shortState(state));
  }

  /** One was pasted. @param {string} token */
  #useToken(token) {
    keepToken(token);
    this.#player.setToken(token);
    this.#act('retry');
  }

  /** @param {Action} action */
  #act(action) {
    if (action === 'resume') return this.#controls.togglePause();
    if (action === 'retry' && this.#player.state.state === 'failed') {
      this.#player.stop();
      return this.#player.start();
    }
    if (action === 'retry') return this.#player.retryNow();
    actOnPage(action);
  }
}
