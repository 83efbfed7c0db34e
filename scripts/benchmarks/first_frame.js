// Runs in the page under test before its own scripts: notes when the picture first carries a valid
// barcode (scripts/benchmarks/glass/barcode.py), and when the first connection was constructed.
// window.__firstFrame = { connect, first }: epoch ms or null; both by performance.timeOrigin.
(() => {
  if (window !== top || window.__firstFrame) return;
  const TARGET = '%TARGET%';
  const seen = (window.__firstFrame = { connect: null, first: null });
  const now = () => performance.timeOrigin + performance.now();

  for (const name of ['WebTransport', 'RTCPeerConnection', 'WebSocket']) {
    const Original = window[name];
    if (!Original) continue;
    window[name] = new Proxy(Original, {
      construct(target, parameters, newTarget) {
        seen.connect ??= now();
        return Reflect.construct(target, parameters, newTarget);
      },
    });
  }

  const canvas = new OffscreenCanvas(32, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  context.imageSmoothingEnabled = false; // nearest neighbour: the middles of the blocks

  function crcHolds(bits) {
    let crc = 0;
    for (let i = 0; i < 24; i++) {
      crc ^= bits[i] << 7;
      crc = (crc & 0x80 ? (crc << 1) ^ 0x07 : crc << 1) & 0xff;
    }
    let told = 0;
    for (let i = 24; i < 32; i++) told = told * 2 + bits[i];
    return crc === told && bits.some(bit => bit); // an all-black picture is no barcode
  }

  function readable(element) {
    const width = element.videoWidth || element.width;
    const height = element.videoHeight || element.height;
    if (!width || !height) return false;
    context.drawImage(element, 0, 0, width, height / 18, 0, 0, 32, 1);
    const { data } = context.getImageData(0, 0, 32, 1);
    const bits = Array.from({ length: 32 }, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2] > 382 ? 1 : 0));
    return crcHolds(bits);
  }

  const look = element => {
    const at = now();
    if (seen.first === null && readable(element)) seen.first = at;
  };

  // A canvas is looked at after all callbacks of an animation frame have run, a video when it shows
  // a new frame: a loop of animation frames beside a video would delay the video.
  const after = new MessageChannel();
  let element = null;
  after.port1.onmessage = () => look(element);
  const onVideo = () => {
    look(element);
    if (seen.first === null) element.requestVideoFrameCallback(onVideo);
  };
  const tick = () => {
    if (seen.first !== null) return;
    if (!element?.isConnected) {
      element = document.querySelector(TARGET);
      if (element?.requestVideoFrameCallback) element.requestVideoFrameCallback(onVideo);
    }
    if (element?.requestVideoFrameCallback) return void setTimeout(watch, 100);
    if (element) after.port2.postMessage(0);
    requestAnimationFrame(tick);
  };
  const watch = () => (element.isConnected ? seen.first ?? setTimeout(watch, 100) : requestAnimationFrame(tick));
  requestAnimationFrame(tick);
})();
