/** The list of broadcasts: rows that change in place, so that focus and reading position stay. */

import { checkSupport } from '../support.js';
import { byId, gatewayUrl, make, makeSvg, pageConfig, setText } from './dom.js';
import { channelName, codecFamily, formatFps, formatSize } from './format.js';
import { pollBroadcasts } from './gateway.js';
import { keepToken, takeToken } from './token.js';
import { tokenForm } from './token_form.js';
import { broadcastWords, sentence } from './words.js';

/** @typedef {import('./words.js').Summary} Summary */

const list = byId('broadcasts', HTMLUListElement);
const empty = byId('empty', HTMLElement);
const notice = byId('notice', HTMLElement);
const summary = byId('summary', HTMLElement);

/** @type {Map<string, {item: HTMLLIElement, update: (summary: Summary) => void}>} */
const rows = new Map();

/** @param {Summary} broadcast what is played, in short @returns {[string, string]} */
function facts(broadcast) {
  /** @param {string} kind */
  const first = (kind) => broadcast.tracks.find((track) => track.kind === kind)?.renditions[0];
  const video = first('video');
  const audio = first('audio');
  const picture = video
    ? [formatSize(video.width, video.height), video.fps ? formatFps(video.fps) : '', codecFamily(video.codec)]
    : [];
  const sound = audio ? `${codecFamily(audio.codec)} ${channelName(audio.channels ?? 0)}`.trim() : '';
  const viewers = broadcast.viewers > 0 ? `${broadcast.viewers} watching` : '';
  return [picture.filter(Boolean).join(' · '), [sound, viewers].filter(Boolean).join(' · ')];
}

/** @param {string} name */
function row(name) {
  const state = make('b');
  const detail = make('span');
  const picture = make('span');
  const sound = make('span');
  const arrow = makeSvg('svg', { class: 'go', viewBox: '0 0 16 16', 'aria-hidden': 'true' }, makeSvg('path', {
    d: 'm6 3 5 5-5 5', fill: 'none', stroke: 'currentcolor', 'stroke-width': '1.75', 'stroke-linecap': 'round', 'stroke-linejoin': 'round',
  }));
  const link = make('a', { class: 'row', href: new URL(name, gatewayUrl()).pathname },
    make('span', { class: 'dot', 'aria-hidden': 'true' }),
    make('span', { class: 'name' }, name),
    make('span', { class: 'state' }, state, detail),
    make('span', { class: 'facts' }, picture, sound),
    arrow);
  const item = make('li', {}, link);
  /** @param {Summary} broadcast */
  const update = (broadcast) => {
    const words = broadcastWords(broadcast);
    link.dataset.state = broadcast.state;
    setText(state, words.state);
    setText(detail, words.detail ? `, ${words.detail}` : '');
    const [pictureFacts, soundFacts] = facts(broadcast);
    setText(picture, pictureFacts);
    setText(sound, soundFacts);
  };
  return { item, update };
}

/** @param {Summary[]} broadcasts */
function show(broadcasts) {
  const names = new Set(broadcasts.map((broadcast) => broadcast.name));
  for (const [name, { item }] of rows) {
    if (names.has(name)) continue;
    item.remove();
    rows.delete(name);
  }
  broadcasts.forEach((broadcast, i) => {
    const entry = rows.get(broadcast.name) ?? row(broadcast.name);
    rows.set(broadcast.name, entry);
    entry.update(broadcast);
    if (list.children[i] !== entry.item) list.insertBefore(entry.item, list.children[i] ?? null);
  });
  empty.hidden = broadcasts.length > 0;
  const live = broadcasts.filter((broadcast) => broadcast.state === 'live').length;
  setText(summary, broadcasts.length ? `${live} of ${broadcasts.length} live` : '');
}

/** @param {string} title @param {string} text @param {...Node} more */
function say(title, text, ...more) {
  notice.replaceChildren(make('strong', {}, title), make('p', {}, text), ...more);
  notice.hidden = false;
}

const support = checkSupport();

/** What is always to be said on this page, or nothing. */
function sayStanding() {
  notice.hidden = support.ok;
  if (support.ok) return;
  const lacks = support.missing.map(({ what, why }) => `${what}: ${why}.`).join(' ');
  say('This browser cannot play broadcasts', `It lacks ${lacks} ${sentence(support.missing[0]?.todo ?? '')}`);
}

/** @typedef {'' | 'away' | 'refused'} Trouble */

/** @param {Trouble} trouble what keeps the list from being told */
function sayTrouble(trouble) {
  if (trouble === 'away') return say('The gateway does not answer', 'This is what it said last. The list goes on by itself when it is back.');
  if (trouble !== 'refused') return sayStanding();
  say('The list needs a link with a token', 'Ask who runs this gateway for one that is valid, or paste one below.', tokenForm((token) => {
    keepToken(token);
    askNow();
  }));
}

takeToken();
show(pageConfig().broadcasts ?? []);
sayStanding();
/** @type {Trouble} */ let trouble = '';
const askNow = pollBroadcasts(({ broadcasts, status }) => {
  list.classList.toggle('stale', broadcasts === null);
  if (broadcasts) show(broadcasts);
  const refused = status === 401 || status === 403;
  if (refused) empty.hidden = true;
  const now = broadcasts ? '' : refused ? 'refused' : 'away';
  if (now === trouble) return;
  trouble = now;
  sayTrouble(trouble);
});
