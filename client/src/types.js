/**
 * Types that cross a border of the client: the Player's public values and the two message unions
 * between page and worker. No code lives here, so that both sides may import it.
 *
 * Times ending in `Us` are microseconds; gateway time unless the name says `local`. "Local" is
 * `performance.timeOrigin + performance.now()` of whoever measured it, which page and worker share.
 */

/** @typedef {'capture' | 'convert' | 'encode' | 'queue' | 'send' | 'receive' | 'reassemble' | 'decode' | 'paint'} StageName */
/** @typedef {'asap' | 'sync' | 'smooth'} LatencyMode */

/**
 * How frames travel (docs/protocol.md): each on a stream of its own, in datagrams with what is lost asked for again
 * or mended by parity, or each as the gateway finds best.
 * @typedef {'stream' | 'datagram' | 'auto'} Delivery
 */

/**
 * @typedef {'idle' | 'connecting' | 'joining' | 'playing' | 'roaming' | 'waiting' | 'reconnecting' | 'failed'
 *   | 'stopped'} PlayerState
 * `roaming`: it played, the network is silent, and another session is tried beside this one; the picture stays.
 * `waiting`: connected, but the source is away. `failed`: it will not come back by itself.
 */

/** @typedef {'generator' | 'trackgenerator' | 'offscreen' | 'canvas'} SinkKind */

/**
 * Why a gateway does not let a page watch: it needs a token that is valid (again), the token does not allow it or was taken
 * back, the operator ended the session, or a limit is reached (then it is tried again). Empty: none of these.
 * @typedef {'' | 'unauthorized' | 'forbidden' | 'revoked' | 'kicked' | 'limit'} FailureCode
 */

/** @typedef {{state: PlayerState, message: string, retryInMs: number, code: FailureCode}} StateDetail */

/** @typedef {import('./media/race.js').TransportKind} TransportKind */
/** @typedef {import('./media/race.js').TransportChoice} TransportChoice */

/**
 * Why frames come over a WebSocket: it was asked for, this browser has no WebTransport, or UDP does not get through.
 * @typedef {'' | 'asked' | 'unsupported' | 'udp-blocked'} FallbackReason
 */

/** What a token allows; `expiresInMs` 0: for ever. @typedef {{granted: boolean, expiresInMs: number, actions: string[]}} AccessDetail */

/** A token, or what gives one: asked at the start, before it is over, and once after a refusal. @typedef {string | (() => Promise<string> | string)} TokenOption */

/** @typedef {{algorithm: string, value: string | Uint8Array, notBefore?: string, notAfter?: string}} CertificateHash */

/** `webSocketUrl`: where a WebSocket may be tried instead. @typedef {{url: string, certificateHashes: CertificateHash[], webSocketUrl?: string}} TransportInfo */

/**
 * What a session goes over: WebTransport, or what looks like it.
 * @typedef {WebTransport | import('./worker/websocket.js').WebSocketTransport} Transport
 */

/**
 * @typedef {object} PlayerOptions
 * @property {string} [url] base URL of the gateway's pages; the page's own origin when absent.
 *   `${url}/api/v1/transport` is fetched before every attempt to connect.
 * @property {string} [transportUrl] where to CONNECT, when it is known already (https://host:port).
 *   With `url` as well it serves the first attempt only, which saves that attempt a round trip.
 * @property {CertificateHash[]} [certificateHashes] hashes that go with `transportUrl`
 * @property {string} [webSocketUrl] where WebSockets are taken (wss://host/_ws/), to go with `transportUrl`; without
 *   it there is no WebSocket to fall back to until `${url}/api/v1/transport` has told
 * @property {TransportChoice} [transport] default `auto`: WebTransport, and a WebSocket where UDP is blocked
 * @property {TokenOption} [token] that lets this page in, where the gateway asks for one
 * @property {string} broadcast name of the broadcast, without a slash before it
 * @property {HTMLElement} [canvas] a <canvas> to paint on, or any element to put the picture into
 * @property {HTMLElement} [container] the same as a container; give one of the two
 * @property {LatencyMode} [latencyMode] default `asap`
 * @property {number} [smoothDelayMs] capture to paint that `smooth` aims at; default 500
 * @property {string} [codec] of the video, if it is known already (/api/v1/broadcasts): the decoder is then
 *   opened while the session is; a wrong guess costs nothing
 * @property {boolean} [picture] false: sound only, until setPicture(true)
 * @property {number} [maxBitrateBps] of the picture, at most; what is encoded for this page alone, or a
 *   lower rendition where there is one, keeps to it
 * @property {Delivery} [delivery] default `auto`
 * @property {number} [deadlineMs] from capture, 1 to 60000: a frame that has not come by then is given up;
 *   default: the gateway's, 500
 * @property {SinkKind} [sink] force a sink, for tests; default: the first that works
 */

/** @typedef {{last: number, p50: number, p95: number}} Percentiles */

/**
 * @typedef {object} PlayerStats
 * @property {PlayerState} state
 * @property {TransportKind} transport of the session that plays, or that played last
 * @property {FallbackReason} transportReason why it is a WebSocket; empty: it is none
 * @property {Delivery} delivery as subscribed; before the gateway has told, as wished for
 * @property {number} datagramsReceived since start(), as all that follow
 * @property {number} fragmentsReceived pieces of frames, parity not
 * @property {number} fragmentsRecovered that were made from parity
 * @property {number} nacksSent frames or parts of frames asked for again
 * @property {number} framesExpired of which a part came, but the rest not before their deadline
 * @property {number} duplicates fragments and frames that came twice
 * @property {string} codec of the video, as WebCodecs names it; empty before the first keyframe
 * @property {string} audioCodec
 * @property {number} rendition that is being sent, as in the catalog; -1: none, or not told yet
 * @property {boolean} forwarded whether it is the source's own coding
 * @property {number} reorderFrames by so many pictures at most it is shown out of its decoding order
 * @property {number} reorderMs the delay that this adds
 * @property {number} width of the picture as it is seen
 * @property {number} height
 * @property {number} framesReceived whole video frames that arrived (since start(), all sessions)
 * @property {number} framesDecoded video frames the decoder gave out
 * @property {number} framesDropped video frames given up: late, undecodable or overtaken
 * @property {number} framesPainted video frames handed to the sink
 * @property {number} freezeCount times that no new picture was painted for the time of three (of the last 30 on average),
 *   and for 150 ms longer than one, while the source had one (as freezeCount of W3C's webrtc-stats)
 * @property {number} freezeMs from the picture before each to the one after it, all of them
 * @property {number} fps painted in the last second
 * @property {number} bitrateBps received in the last second, audio and video
 * @property {Percentiles} latencyMs capture to paint over the last 5 s, by the gateway's capture timestamp and
 *   the clock offset of the session (off by half of `rttMs` at most). Paint is the moment at which the frame was
 *   handed to the sink: written to the track behind the <video>, drawn on the canvas, or sent to the page's
 *   canvas. What the compositor and the display add (up to a display frame each) no page can measure.
 * @property {number} avSkewMs timestamp of the sound that is heard minus that of the picture painted last, both
 *   at the moment of painting; positive: sound is ahead. 0 while no sound plays. The sound's position is what the
 *   worklet takes (smoothed over 200 ms) less the output latency that the browser tells.
 * @property {number} audioUnderruns times that the sound ran dry and was bridged by silence
 * @property {number} audioPlayedMs samples really played by the worklet
 * @property {number} firstFrameMs CONNECT to first painted frame; 0 before
 * @property {{ready: number, received: number, decoded: number}} joinMs the way to it, all from CONNECT:
 *   session accepted, first whole frame received, first picture decoded
 * @property {number} reconnects sessions that broke off, and nothing took their place at once
 * @property {number} roams sessions that took the place of another one: of one that is silent, about to go, or just broken off
 * @property {number} roamMs the longest time without a new picture around the last of them, or while the network was last silent; 0: never
 * @property {SinkKind | ''} sink
 * @property {LatencyMode} latencyMode
 * @property {number} decodeQueue chunks that wait in the video decoder
 * @property {number} jitterMs of video arrival (RFC 3550, section 6.4.1)
 * @property {Record<StageName, number>} stages p50 in ms of each stage from capture to paint: `queue` is the
 *   gateway's own word, `send` is from there to the first byte here, `receive` to the last, `reassemble` until all that
 *   was before it has come, `decode` until the decoder gave it out
 * @property {number} rttMs round trip of the control stream
 * @property {number} clockOffsetMs gateway time minus local time
 * @property {number} audioFramesReceived
 * @property {number} audioFramesDecoded
 * @property {number} audioFramesDropped late or out of bounds
 * @property {number} audioFramesConcealed packets' worth of sound that was made up, because nothing or too late came
 * @property {number} audioConcealedMs the same in ms
 * @property {number} audioBufferMs samples that wait in the ring
 * @property {number} audioTargetMs what the ring is steered to
 * @property {number} audioOutputMs from the worklet to the ear, as the browser tells it
 * @property {number} audioRate speed at which samples are consumed, 1 is natural
 * @property {number} navigationToFirstFrameMs 0 before
 * @property {number} framesReordered frames that arrived after a later one, and were put in order
 * @property {number} framesOutOfOrder decoded after a later one: must be 0
 * @property {number} framesLost frames that never came and were skipped
 * @property {number} framesLate frames that came after delivery had gone on without them
 * @property {number} decoderErrors
 * @property {number} keyframeRequests
 * @property {Record<string, any> | null} gateway last `statistics` message
 */

/** @typedef {Pick<PlayerStats, 'datagramsReceived' | 'fragmentsReceived' | 'fragmentsRecovered' | 'nacksSent' | 'framesExpired' | 'duplicates'>} DatagramCounters */

/**
 * @typedef {object} StartMessage
 * @property {'start'} type
 * @property {string} baseUrl
 * @property {string} broadcast
 * @property {LatencyMode} latencyMode
 * @property {number} smoothDelayMs
 * @property {string} codec to open the decoder with before the first keyframe tells
 * @property {boolean} canRefetch false when only `transportUrl` was given
 * @property {string} codecs abilities that were proven at an earlier visit; empty: none are known
 * @property {boolean} prove whether they are to be proven (again) when the first picture is there
 * @property {boolean} picture false: sound only
 * @property {Delivery} delivery
 * @property {number} deadlineMs 0: the gateway's
 * @property {TransportChoice} transport
 * @property {boolean} socketWon a WebSocket was what worked a short while ago
 * @property {string} token empty: there is none
 */

/**
 * Page to worker.
 * @typedef {StartMessage
 *   | {type: 'transport', info: TransportInfo | null, error?: string}
 *   | {type: 'token', token: string}
 *   | {type: 'sink', kind: SinkKind, writable?: WritableStream<VideoFrame>, canvas?: OffscreenCanvas}
 *   | {type: 'audioOutput', ring: SharedArrayBuffer | null, port: MessagePort | null, channels: number, capacity: number, sampleRate: number}
 *   | {type: 'audioState', running: boolean, latencyMs: number}
 *   | {type: 'latencyMode', mode: LatencyMode}
 *   | {type: 'rendition', id: number}
 *   | {type: 'picture', on: boolean}
 *   | {type: 'levels', on: boolean}
 *   | {type: 'visible', visible: boolean}
 *   | {type: 'network', event: string}
 *   | {type: 'control', message: {kind: string, [field: string]: any}}
 *   | {type: 'painted'}
 *   | {type: 'mirror', on: boolean}
 *   | {type: 'retryNow'}
 *   | {type: 'stop'}
 *   | {type: 'debug', id: number, command: 'failDecoder' | 'grab' | 'frames' | 'received' | 'dropSession'}
 * } ToWorker
 */

/**
 * Worker to page. A VideoFrame in `frame` belongs to the page, which closes it.
 * @typedef {{type: 'ready'}
 *   | {type: 'state', state: PlayerState, message: string, retryInMs: number, code: FailureCode}
 *   | {type: 'tokenWanted'}
 *   | {type: 'access', access: AccessDetail}
 *   | {type: 'opened', kind: TransportKind, reason: FallbackReason}
 *   | {type: 'stats', stats: PlayerStats}
 *   | {type: 'error', message: string, fatal: boolean}
 *   | {type: 'catalog', catalog: Catalog}
 *   | {type: 'audioFormat', channels: number, sampleRate: number}
 *   | {type: 'firstFrame', localMs: number}
 *   | {type: 'size', width: number, height: number, rotation: number}
 *   | {type: 'abilities', codecs: string}
 *   | {type: 'rendition', id: number}
 *   | {type: 'picture', on: boolean, message: string}
 *   | {type: 'levels', levels: number[]}
 *   | {type: 'track', track: MediaStreamTrack}
 *   | {type: 'frame', frame: VideoFrame, mirror: boolean}
 *   | {type: 'sinkFailed', message: string}
 *   | {type: 'debug', id: number, value?: unknown, error?: string}
 * } FromWorker
 */

/**
 * @typedef {object} Rendition
 * @property {number} id
 * @property {string} codec
 * @property {number} bitrate_bps
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} sample_rate
 * @property {number} channels
 * @property {Uint8Array} [description]
 * @property {boolean} [forwarded] the source's own coding
 * @property {number} [reorder_frames] frames come in decoding order, shown by up to so many pictures later
 * @property {number} [rotation] degrees clockwise that the picture is turned: 0, 90, 180 or 270
 */

/** @typedef {{id: number, kind: string, renditions: Rendition[]}} Track */

/** @typedef {{revision: number, tracks: Track[]}} Catalog */

/**
 * One encoded frame as it left the wire (docs/protocol.md).
 * @typedef {object} Frame
 * @property {number} track
 * @property {number} rendition
 * @property {number} group
 * @property {number} index
 * @property {boolean} keyframe
 * @property {boolean} discardable
 * @property {number} ptsUs
 * @property {number} captureUs
 * @property {number} durationUs
 * @property {number} grabbedUs 0: no such stage
 * @property {number} convertedUs
 * @property {number} encodedUs
 * @property {Uint8Array} payload
 * @property {number} firstByteUs local; when its first byte came (0 before the session sets it)
 * @property {number} arrivalUs local; when its last byte came (0 before the session sets it)
 * @property {number} [orderedUs] local; when all that is before it had come
 */

export {};
