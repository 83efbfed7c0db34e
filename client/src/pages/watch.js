/**
 * The player page's first script, kept short: it starts the player with what the page carries and
 * only then loads everything that is seen around the picture.
 */

import { Player } from '../player.js';
import { checkSupport } from '../support.js';
import { byId, pageConfig } from './dom.js';
import { preference } from './preferences.js';

const config = pageConfig();
const support = checkSupport();
/** @type {Player | null} */
let player = null;

if (support.ok) {
  player = new Player({
    url: location.origin,
    transportUrl: config.transport?.url,
    certificateHashes: config.transport?.certificateHashes,
    broadcast: config.broadcast,
    container: byId('picture', HTMLElement),
    latencyMode: preference.latencyMode,
  });
  Object.assign(window, { player });
  player.start();
}

const { showPage } = await import('./watch_page.js');
showPage(player, config, support.missing);
