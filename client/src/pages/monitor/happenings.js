/** The last things that happened, newest first. */

import { make } from '../dom.js';
import { listen } from './events.js';
import { eventWords, placeHref } from './model.js';

/** @typedef {import('./events.js').GatewayEvent} GatewayEvent */

const SHOWN = 40;

/** @param {GatewayEvent} event */
function line(event) {
  const { what, detail, trouble, broadcast, session } = eventWords(event);
  const at = new Date(event.at);
  const words = make('span', { class: 'what' });
  const target = session ? placeHref('session', session) : broadcast ? placeHref('broadcast', broadcast) : '';
  words.append(target ? make('a', { href: target }, what) : what);
  if (detail) words.append(make('small', {}, ` ${detail}`));
  return make('li', trouble ? { class: 'trouble' } : {},
    make('time', { datetime: at.toISOString() }, at.toLocaleTimeString([], { hour12: false })), words);
}

/** @param {(event: GatewayEvent) => boolean} wanted @returns {{element: HTMLElement, close: () => void}} */
export function happenings(wanted) {
  const list = make('ol', { class: 'events', 'aria-label': 'What happened' });
  const none = make('p', { class: 'none' }, 'Nothing has happened since the gateway started.');
  const close = listen((event) => {
    if (!wanted(event)) return;
    none.hidden = true;
    list.prepend(line(event));
    while (list.children.length > SHOWN) list.lastElementChild?.remove();
  });
  return { element: make('section', {}, make('h2', {}, 'What happened'), list, none), close };
}
