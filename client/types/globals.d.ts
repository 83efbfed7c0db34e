// What the two browsers have and TypeScript's DOM library lacks. Types only; never served.

declare class MediaStreamTrackGenerator extends MediaStreamTrack {
  constructor(init: { kind: 'video' | 'audio' });
  readonly writable: WritableStream<VideoFrame>;
}

declare class VideoTrackGenerator {
  constructor();
  readonly writable: WritableStream<VideoFrame>;
  readonly track: MediaStreamTrack;
}

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
  constructor();
}

declare const currentFrame: number;
declare const sampleRate: number;
declare function registerProcessor(name: string, processor: new (options: any) => AudioWorkletProcessor): void;

// The newer form of `writable`.
interface WebTransportDatagramDuplexStream {
  createWritable?(): WritableStream<Uint8Array>;
}
