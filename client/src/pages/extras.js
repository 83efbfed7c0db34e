/** What a watch page shows that has time until the picture is there: a script of its own, fetched then. */

export { Meters } from './meters.js';
export { Quality } from './quality.js';
export { Statistics } from './statistics.js';
