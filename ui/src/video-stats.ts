/** What getStats says about a live stream, as figures a person reads. */

export interface LiveFacts {
  width: number
  height: number
  codec: string
  audioCodec: string | null
  picturesPerSecond: number
  bitsPerSecond: number
  packetsLost: number
  freezes: number
  bufferMs: number | null
  cipher: string | null
}

interface Sample {
  atMs: number
  bytes: number
  bufferS: number
  emitted: number
}

/** Members that TypeScript's DOM library does not know yet. */
interface Inbound extends RTCInboundRtpStreamStats {
  freezeCount?: number
}
interface Transport extends RTCTransportStats {
  srtpCipher?: string
}

/** Reads a connection again and again; rates are between one reading and the next. */
export class StatsReader {
  #previous: Sample | null = null

  constructor(private readonly peer: RTCPeerConnection) {}

  /** Null until a video packet has arrived. */
  async read(): Promise<LiveFacts | null> {
    const report = await this.peer.getStats()
    const video = inbound(report, 'video')
    if (!video) return null
    const now = sample(video)
    const facts = toFacts(report, video, now, this.#previous)
    this.#previous = now
    return facts
  }
}

function sample(video: Inbound): Sample {
  return {
    atMs: video.timestamp,
    bytes: video.bytesReceived ?? 0,
    bufferS: video.jitterBufferDelay ?? 0,
    emitted: video.jitterBufferEmittedCount ?? 0,
  }
}

function toFacts(report: RTCStatsReport, video: Inbound, now: Sample, before: Sample | null): LiveFacts {
  const elapsedS = before ? (now.atMs - before.atMs) / 1000 : 0
  const emitted = before ? now.emitted - before.emitted : 0
  const transport = find<Transport>(report, (entry) => entry.type === 'transport')
  return {
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    codec: codecName(report, video) ?? '',
    audioCodec: codecName(report, inbound(report, 'audio')),
    picturesPerSecond: video.framesPerSecond ?? 0,
    bitsPerSecond: before && elapsedS > 0 ? ((now.bytes - before.bytes) * 8) / elapsedS : 0,
    packetsLost: video.packetsLost ?? 0,
    freezes: video.freezeCount ?? 0,
    bufferMs: before && emitted > 0 ? ((now.bufferS - before.bufferS) / emitted) * 1000 : null,
    cipher: transport?.srtpCipher ?? null,
  }
}

function find<T extends RTCStats>(report: RTCStatsReport, matches: (entry: T) => boolean): T | undefined {
  for (const entry of report.values() as Iterable<T>) if (matches(entry)) return entry
  return undefined
}

function inbound(report: RTCStatsReport, kind: string): Inbound | undefined {
  return find<Inbound>(report, (entry) => entry.type === 'inbound-rtp' && entry.kind === kind)
}

function codecName(report: RTCStatsReport, stream: Inbound | undefined): string | null {
  if (!stream?.codecId) return null
  const codec = report.get(stream.codecId) as { mimeType?: string } | undefined
  return codec?.mimeType?.split('/')[1] ?? null
}
