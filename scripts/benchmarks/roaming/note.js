// Notes in any page when its picture is painted and when it has no sound; all times in ms since the Unix epoch.
// noteVideo(video), noteSound(stream or track) begin it; window.noted() is {paints, silences}, oldest first.
(() => {
  const KEPT = 4000, LOUD = 0.02, BLOCK = 1024;
  const paints = [];
  let silences = null, silent = 0;
  const epoch = (now) => performance.timeOrigin + now;

  window.noteVideo = (video) => {
    const painted = (now) => {
      paints.push(epoch(now));
      if (paints.length > KEPT) paints.shift();
      video.requestVideoFrameCallback(painted);
    };
    video.requestVideoFrameCallback(painted);
  };

  // A script processor: it needs no file of its own, which a page's policy might forbid.
  window.noteSound = async (stream) => {
    const context = (window.notedContext = new AudioContext({ sampleRate: 48000 }));
    const node = context.createScriptProcessor(BLOCK, 1, 1);
    silences = [];
    node.onaudioprocess = ({ inputBuffer }) => {
      const loud = inputBuffer.getChannelData(0).some((sample) => Math.abs(sample) > LOUD);
      const length = (1000 * BLOCK) / context.sampleRate;
      if (!loud) silent += length;
      else if (silent) {
        silences.push([epoch(performance.now()), silent]);
        silent = 0;
      }
    };
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    await context.resume();
  };

  window.noted = () => ({
    paints: [...paints],
    silences: silences && [...silences, ...(silent ? [[epoch(performance.now()), silent]] : [])],
  });
})();
