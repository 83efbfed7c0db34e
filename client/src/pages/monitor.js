/** The monitor: which of its pages is shown, asked again each second for as long as it is looked at. */

import { byId, make, setText } from './dom.js';
import { ApiError } from './monitor/api.js';
import { broadcastView } from './monitor/broadcast.js';
import { placeOf } from './monitor/model.js';
import { overview } from './monitor/overview.js';
import { sessionView } from './monitor/session.js';
import { keepToken, takeToken } from './token.js';
import { tokenForm } from './token_form.js';

/** `update` gives a line for the header. @typedef {{element: HTMLElement, update: () => Promise<string>, close: () => void, title: string}} View */

const PERIOD_MS = 1000;
const AWAY_PERIOD_MS = 3000;

const content = byId('content', HTMLElement);
const notice = byId('notice', HTMLElement);
const summary = byId('summary', HTMLElement);

/** @type {View | null} */ let view = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
let round = 0; // answers to what was asked before another page was opened are nobody's
let said = '';

/** @param {string} title @param {string} words @param {...Node} more */
function say(title, words, ...more) {
  notice.hidden = !title;
  content.classList.toggle('stale', Boolean(title));
  if (title + words === said) return; // a form that is being filled in stays
  said = title + words;
  notice.replaceChildren(make('strong', {}, title), make('p', {}, words), ...more);
}

/** @param {unknown} error */
function explain(error) {
  if (!(error instanceof ApiError)) return say('This page has a fault', String(error));
  if (error.refused) {
    return say('The monitor needs a link with a token', 'One that allows the API: wtgateway token create --api --for 8h prints it.', tokenForm((token) => {
      keepToken(token);
      open();
    }));
  }
  if (error.status === 404) return say('It is not there', `${error.message} It may have ended, or be at another node.`);
  say('The gateway does not answer', `${error.message} This is what it said last; the page goes on by itself.`);
}

async function refresh() {
  clearTimeout(timer);
  const mine = round;
  let pause = PERIOD_MS;
  if (view && document.visibilityState === 'visible') {
    try {
      const words = await view.update();
      if (mine !== round) return;
      setText(summary, words);
      say('', '');
    } catch (error) {
      if (mine !== round) return;
      pause = AWAY_PERIOD_MS;
      explain(error);
    }
  }
  timer = setTimeout(refresh, pause);
}

function open() {
  round++;
  view?.close();
  const place = placeOf(location.hash);
  view = place.page === 'session' ? sessionView(place.name) : place.page === 'broadcast' ? broadcastView(place.name) : overview();
  document.title = `${view.title} · wtgateway`;
  content.replaceChildren(view.element);
  scrollTo(0, 0);
  refresh();
}

takeToken();
addEventListener('hashchange', open);
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && refresh());
open();
