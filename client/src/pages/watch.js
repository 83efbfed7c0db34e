/**
 * The player page's first script, kept short: it starts the player with what the page carries and
 * only then loads everything that is seen around the picture.
 *
 * It runs as soon as it is there, before the page is drawn and perhaps before it is parsed: drawing
 * text for the first time takes a browser longer than connecting.
 */

import { DELIVERIES, Player, TRANSPORTS } from '../player.js';
import { checkSupport } from '../support.js';
import { byId, gatewayUrl, make, pageConfig } from './dom.js';
import { preference, SOUND_ONLY } from './preferences.js';
import { takeToken } from './token.js';

const PICTURE_FIRST_MS = 400; // so long the rest of the page waits for the first picture

const config = pageConfig();
const asked = new URLSearchParams(location.search);
const token = takeToken();
const support = checkSupport();
const picture = make('div');
const page = document.documentElement;
/** @type {Player | null} */
let player = null;
/** Settles when there is a picture, or has been none for long. @type {Promise<unknown>} */
let pictured = Promise.resolve();

/** @param {EventTarget} target @param {string} type */
const once = (target, type) => new Promise((resolve) => { target.addEventListener(type, resolve, { once: true }); });

if (support.ok) {
  player = new Player({
    url: gatewayUrl(),
    transportUrl: config.transport?.url,
    certificateHashes: config.transport?.certificateHashes,
    webSocketUrl: config.transport?.webSocketUrl,
    token,
    transport: TRANSPORTS.find((transport) => transport === asked.get('transport')),
    broadcast: config.broadcast,
    container: picture,
    latencyMode: preference.latencyMode,
    picture: preference.quality(config.broadcast) !== SOUND_ONLY,
    delivery: DELIVERIES.find((mode) => mode === asked.get('delivery')),
    deadlineMs: Math.min(Math.max(0, Number(asked.get('deadline')) || 0), 60_000),
  });
  Object.assign(window, { player });
  player.start();
  pictured = Promise.race([once(player, 'size'), new Promise((resolve) => { setTimeout(resolve, PICTURE_FIRST_MS); })]);
  // Where nothing has been drawn yet; elsewhere the page would be seen to come, go and come again.
  if ('blocking' in HTMLScriptElement.prototype) {
    page.toggleAttribute('data-early', true);
    pictured.then(() => page.toggleAttribute('data-early', false));
  }
}

if (document.readyState === 'loading') await once(document, 'DOMContentLoaded');
byId('picture', HTMLElement).append(picture);
const { showPage } = await import('./watch_page.js');
showPage(player, config, support.missing, pictured);
