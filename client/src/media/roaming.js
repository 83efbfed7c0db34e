/**
 * When a second session is opened beside the one that plays, and which of the two is kept. Mirrors
 * wtgateway/protocol/roaming.py, whose rules 1 to 10 it follows; tests/vectors/roaming.json holds both to
 * them. Pure: `nowUs` is any monotonic clock.
 */

export const KNOWN = 4;
export const REMEMBERED = 16;
export const LATELY_US = 2_000_000;
export const PING_US = 120_000;
export const SILENT_US = 250_000;
export const ANSWER_US = SILENT_US - PING_US;
export const LONGEST_ANSWER_US = 1_000_000;
export const BACKOFF_US = [1_000_000, 2_000_000, 4_000_000];
export const QUIET_US = 10_000_000;

/** @typedef {'video' | 'audio'} Kind */
/**
 * `ping` on main, `close_spare`, `open` a spare; `switch`: spare is main from now on, and the former main is to be closed
 * if it is not over; `lost`: main is over, and there is no spare.
 * @typedef {'ping' | 'close_spare' | 'open' | 'switch' | 'lost'} Action
 */

const FIRST_PATIENCE_US = /** @type {number} */ (BACKOFF_US[0]);
const LONGEST_PATIENCE_US = /** @type {number} */ (BACKOFF_US.at(-1));
/** @type {Action[]} */ const NOTHING = [];
/** @param {(number | null)[]} times */
const earliest = (...times) => times.reduce((least, time) => (time !== null && (least === null || time < least) ? time : least), null);

/** When the frames of one kind were delivered. */
class Delivered {
  /** @type {number[]} */ #times = [];
  /** When the next one is due; null: it cannot be told. @type {number | null} */ dueUs = null;

  get lastUs() {
    return this.#times.at(-1) ?? -Infinity;
  }

  /** @param {number} nowUs */
  note(nowUs) {
    const times = this.#times;
    times.push(nowUs);
    if (times.length > REMEMBERED) times.shift();
    const first = times.findIndex((time) => time > nowUs - LATELY_US);
    const count = times.length - first;
    const span = nowUs - /** @type {number} */ (times[first]);
    this.dueUs = count < KNOWN ? null : nowUs + Math.floor((span * 3) / (2 * (count - 1)));
  }
}

/** One viewer's. Each method takes what happened and returns what is to be done, in order. */
export class Roaming {
  live = false;
  visible = true;
  /** Of main, as it is measured; written from outside. */ rttUs = 0;
  roaming = false;
  draining = false;
  /** Times that a spare took main's place. */ roams = 0;
  /** Of the last of them. @type {number | null} */ gapUs = null;
  /** @type {Map<Kind, Delivered>} */ #delivered = new Map();
  /** @type {number | null} */ #heardUs = null;
  /** Unanswered. @type {number | null} */ #pingedUs = null;
  #changed = false; // the network, since the last byte heard
  /** @type {{openedUs: number, patienceUs: number, heardUs: number | null} | null} */ #spare = null;
  #attempts = 0;
  /** The last spare. @type {number | null} */ #openedUs = null;
  #nextOpenUs = 0;
  /** The last frame before the change, until one comes after it. @type {{kind: Kind, us: number} | null} */ #gap = null;

  /** Whether there is a second session, if only being opened. */
  get hasSpare() {
    return this.#spare !== null;
  }

  /** A byte of anything came on main. @param {number} nowUs @returns {Action[]} */
  heard(nowUs) {
    this.#heardUs = nowUs;
    this.#pingedUs = null;
    this.#changed = this.roaming = false;
    if (!this.#spare || this.draining) return this.advance(nowUs);
    this.#spare = null;
    return ['close_spare', ...this.advance(nowUs)];
  }

  /** Main delivered a frame, in order. @param {Kind} kind @param {number} nowUs @returns {Action[]} */
  frame(kind, nowUs) {
    this.#note(kind, nowUs);
    return this.heard(nowUs);
  }

  /** Main's gateway is about to go. @param {number} nowUs @returns {Action[]} */
  drain(nowUs) {
    this.draining = true;
    return this.advance(nowUs);
  }

  /** The machine has another address, or may have. @param {number} nowUs @returns {Action[]} */
  networkChanged(nowUs) {
    if (this.#heardUs === null) return NOTHING;
    this.#attempts = 0;
    this.#nextOpenUs = nowUs;
    /** @type {Action[]} */ const actions = [];
    if (this.#spare && this.#spare.heardUs === null) {
      this.#spare = null;
      actions.push('close_spare');
    }
    if (!this.roaming) {
      this.#pingedUs = nowUs;
      this.#changed = true;
      actions.push('ping');
    }
    return [...actions, ...this.advance(nowUs)];
  }

  /** Main is over, whoever ended it. @param {number} nowUs @returns {Action[]} */
  ended(nowUs) {
    if (this.#spare) return this.#switch(nowUs, this.#spare);
    this.#heardUs = this.#pingedUs = null;
    this.#changed = this.roaming = this.draining = false;
    return ['lost'];
  }

  /** A byte of anything came on spare. @param {number} nowUs @returns {Action[]} */
  spareHeard(nowUs) {
    const spare = this.#spare;
    if (!spare) return this.advance(nowUs);
    spare.heardUs = nowUs;
    const idle = !this.#expected('video', nowUs) && !this.#expected('audio', nowUs);
    return this.draining && idle ? this.#switch(nowUs, spare) : this.advance(nowUs);
  }

  /**
   * Spare has a frame to deliver.
   * @param {Kind} kind @param {number} nowUs @param {boolean} newer than the newest, or the first of another instance
   * @returns {Action[]}
   */
  spareFrame(kind, nowUs, newer = true) {
    const spare = this.#spare;
    if (!spare) return this.advance(nowUs);
    spare.heardUs = nowUs;
    const wins = this.draining ? kind === 'video' || !this.#expected('video', nowUs) : newer;
    if (!wins) return this.advance(nowUs);
    const actions = this.#switch(nowUs, spare);
    this.#note(kind, nowUs);
    return actions;
  }

  /** Spare was refused, or is over. @param {number} nowUs @returns {Action[]} */
  spareFailed(nowUs) {
    this.#spare = null;
    return this.advance(nowUs);
  }

  /** When advance() has something to do if nothing else happens; null: never. @returns {number | null} */
  nextTimeout() {
    return earliest(this.#spare ? this.#givenUpUs(this.#spare) : this.#openUs(), this.#pingUs());
  }

  /** Does what time demands. @param {number} nowUs @returns {Action[]} */
  advance(nowUs) {
    /** @type {Action[]} */ let actions = NOTHING;
    const due = (/** @type {number | null} */ us) => us !== null && nowUs >= us;
    if (due(this.#pingUs())) {
      this.#pingedUs = nowUs;
      actions = ['ping'];
    }
    if (this.#spare && due(this.#givenUpUs(this.#spare))) {
      this.#spare = null;
      actions = [...actions, 'close_spare'];
    }
    if (this.#spare || !due(this.#openUs())) return actions;
    this.#open(nowUs);
    return [...actions, 'open'];
  }

  /** @param {{openedUs: number, patienceUs: number, heardUs: number | null}} spare */
  #givenUpUs({ openedUs, patienceUs, heardUs }) {
    return heardUs === null ? openedUs + patienceUs : heardUs + LONGEST_PATIENCE_US;
  }

  /** @param {Kind} kind @param {number} nowUs */
  #note(kind, nowUs) {
    if (this.#gap?.kind === kind) {
      this.gapUs = nowUs - this.#gap.us;
      this.#gap = null;
    }
    let delivered = this.#delivered.get(kind);
    if (!delivered) this.#delivered.set(kind, delivered = new Delivered());
    delivered.note(nowUs);
  }

  /** @param {Kind} kind @param {number} nowUs */
  #expected(kind, nowUs) {
    const delivered = this.#delivered.get(kind);
    return delivered !== undefined && this.#dueUs(kind) !== null && nowUs < delivered.lastUs + LATELY_US;
  }

  /** When the next frame is due; null: none is expected. @param {Kind} kind */
  #dueUs(kind) {
    if (!this.live || (kind === 'video' && !this.visible)) return null;
    return this.#delivered.get(kind)?.dueUs ?? null;
  }

  /** When silence is to be asked about. */
  #pingUs() {
    if (this.#heardUs === null || this.#pingedUs !== null) return null;
    /** @type {number | null} */ let next = null;
    for (const [kind, { lastUs }] of this.#delivered) {
      const dueUs = this.#dueUs(kind);
      if (dueUs === null) continue;
      const askUs = Math.max(dueUs, this.#heardUs + PING_US);
      if (askUs < lastUs + LATELY_US) next = earliest(next, askUs);
    }
    return next;
  }

  /** When a spare is to be opened, if there is none. */
  #openUs() {
    if (this.#heardUs === null) return null;
    if (this.draining || this.roaming) return this.#nextOpenUs;
    if (this.#pingedUs === null) return null;
    const answerUs = this.#pingedUs + Math.max(ANSWER_US, Math.min(Math.floor((this.rttUs * 3) / 2), LONGEST_ANSWER_US));
    return Math.max(this.#nextOpenUs, answerUs, this.#changed ? 0 : this.#heardUs + SILENT_US);
  }

  /** @param {number} nowUs */
  #open(nowUs) {
    if (this.#openedUs !== null && nowUs >= this.#openedUs + QUIET_US) this.#attempts = 0;
    const patienceUs = BACKOFF_US[this.#attempts++] ?? LONGEST_PATIENCE_US;
    this.#spare = { openedUs: nowUs, patienceUs, heardUs: null };
    this.#openedUs = nowUs;
    this.#nextOpenUs = nowUs + patienceUs;
    this.roaming = !this.draining;
  }

  /** @param {number} nowUs @param {{openedUs: number}} spare @returns {Action[]} */
  #switch(nowUs, { openedUs }) {
    this.#nextOpenUs = openedUs + FIRST_PATIENCE_US;
    this.#heardUs = nowUs;
    this.#pingedUs = this.#spare = null;
    this.#changed = this.roaming = this.draining = false;
    this.#attempts = 0;
    this.roams++;
    /** @type {Kind} */ const kind = this.#delivered.has('video') ? 'video' : 'audio';
    const delivered = this.#delivered.get(kind);
    this.#gap = delivered ? { kind, us: delivered.lastUs } : null;
    return ['switch'];
  }
}
