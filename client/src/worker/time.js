/** Local time as page and worker share it, in µs; see types.js. */
export const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
