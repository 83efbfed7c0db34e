/** The statistics before anything happened: every field of PlayerStats, so that callers need no guards. */

/**
 * @param {import('../types.js').LatencyMode} latencyMode
 * @returns {import('../types.js').PlayerStats}
 */
export function emptyStats(latencyMode) {
  const none = { last: 0, p50: 0, p95: 0 };
  return {
    state: 'idle', transport: 'webtransport', transportReason: '', delivery: 'auto', codec: '', audioCodec: '', rendition: -1, forwarded: false, reorderFrames: 0, reorderMs: 0, width: 0, height: 0,
    framesReceived: 0, framesDecoded: 0, framesDropped: 0, framesPainted: 0, freezeCount: 0, freezeMs: 0, fps: 0, bitrateBps: 0,
    latencyMs: none, avSkewMs: 0, audioUnderruns: 0, audioPlayedMs: 0, firstFrameMs: 0, joinMs: { ready: 0, received: 0, decoded: 0 }, reconnects: 0, roams: 0, roamMs: 0,
    sink: '', latencyMode, decodeQueue: 0, jitterMs: 0, 
    stages: { capture: 0, convert: 0, encode: 0, queue: 0, send: 0, receive: 0, reassemble: 0, decode: 0, paint: 0 },
    rttMs: 0, clockOffsetMs: 0, audioFramesReceived: 0, audioFramesDropped: 0, audioFramesConcealed: 0, audioConcealedMs: 0, audioBufferMs: 0, audioTargetMs: 0,
    audioFramesDecoded: 0, audioOutputMs: 0, audioRate: 1, navigationToFirstFrameMs: 0, framesReordered: 0, framesOutOfOrder: 0, framesLost: 0, framesLate: 0, decoderErrors: 0,
    keyframeRequests: 0, gateway: null,
    datagramsReceived: 0, fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0,
  };
}
