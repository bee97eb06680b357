/** hls.js around a video element: LL-HLS live, and VOD of recorded footage. Loaded only when first needed. */
import type Hls from 'hls.js'
import type { ErrorData, Fragment, HlsConfig } from 'hls.js'
import { ApiError, liveHlsUrl, playbackUrl, send } from './api'
import { backoffMs, sleep } from './backoff'
import { connections } from './connections'
import { onFirstPicture } from './first-picture'
import type { PlayerState } from './live-player'
import { HlsUnsupported } from './live-source'
import { type TimedFragment, mediaAt, wallAt } from './media-clock'
import type { LiveStream, StreamName } from './types'

/** hls.js's names for a codec that this browser has no decoder for, such as H.265. */
const UNDECODABLE: ReadonlySet<string> = new Set([
  'manifestIncompatibleCodecsError',
  'bufferIncompatibleCodecsError',
  'bufferAddCodecError',
])
/** EXT-X-SESSION-DATA by this name holds the code for why there is no sound. */
const SILENT = 'org.mediasrv.silent'
const EXPLAIN_TIMEOUT_MS = 5000
const BACKOFF = { firstMs: 1000, mostMs: 15_000 }
const LIVE_CONFIG: Partial<HlsConfig> = { lowLatencyMode: true, backBufferLength: 10, enableWorker: false }
/** Little is read ahead: footage that nobody looks at is neither fetched, nor unsealed, nor sent. */
const VOD_CONFIG: Partial<HlsConfig> = {
  maxBufferLength: 15,
  maxMaxBufferLength: 30,
  backBufferLength: 60,
  enableWorker: false,
}
/** Keyframes alone are few bytes, and gone through many times as fast. */
const KEYS_CONFIG: Partial<HlsConfig> = { ...VOD_CONFIG, maxBufferLength: 120, maxMaxBufferLength: 240 }

async function openHls(config: Partial<HlsConfig>): Promise<{ hls: Hls; Library: typeof Hls }> {
  const { default: Library } = await import('hls.js')
  if (!Library.isSupported()) throw new HlsUnsupported()
  // for date ranges, hls.js would add a track that the page's security policy forbids
  return { hls: new Library({ ...config, enableDateRangeMetadataCues: false }), Library }
}

/** The error as ApiError with the server's sentence: hls.js keeps only the status, so the question is asked again. */
async function toError(data: ErrorData): Promise<Error> {
  if (UNDECODABLE.has(data.details)) return new ApiError(0, 'codec_unsupported', data.error.message)
  const status = data.response?.code ?? 0
  if (status < 400) return data.error
  const url = data.url ?? data.response?.url
  const again = url ? await send(url, {}, EXPLAIN_TIMEOUT_MS).catch((error: unknown) => error) : null
  return again instanceof ApiError ? again : new ApiError(status, `http_${status}`, `HTTP ${status}`)
}

/** Plays the live stream until `signal` aborts, reconnecting after fatal errors; errors become states. */
export async function playLiveHls(
  video: HTMLVideoElement,
  camera: string,
  stream: LiveStream,
  onState: (state: PlayerState) => void,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0
  onState({ kind: 'connecting' })
  while (!signal.aborted) {
    const error = await playLiveOnce(video, camera, stream, signal, (silent) => {
      failures = 0
      onState({ kind: 'playing', silent })
    }).catch((reason: unknown) => reason)
    if (signal.aborted) return
    failures += 1
    onState({ kind: 'retrying', error })
    if (error instanceof HlsUnsupported || isUndecodable(error)) return
    await sleep(backoffMs(failures, BACKOFF), signal).catch(() => undefined)
  }
}

function isUndecodable(error: unknown): boolean {
  return error instanceof ApiError && error.code === 'codec_unsupported'
}

/** Answers the fatal error that ended it. */
async function playLiveOnce(
  video: HTMLVideoElement,
  camera: string,
  stream: LiveStream,
  signal: AbortSignal,
  onPlaying: (silent?: string) => void,
): Promise<Error> {
  const startedMs = performance.now()
  const { hls, Library } = await openHls(LIVE_CONFIG)
  let silent: string | undefined
  const cancelFirst = onFirstPicture(video, `${camera}/hls`, startedMs, () => onPlaying(silent))
  connections.hls[camera] = hls
  try {
    return await new Promise<Error>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error)
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      hls.on(Library.Events.ERROR, (_event, data) => {
        if (data.fatal && !recovered(hls, data, Library)) resolve(toError(data))
      })
      hls.on(Library.Events.MANIFEST_PARSED, (_event, data) => {
        silent = data.sessionData?.[SILENT]?.['VALUE']
        void video.play().catch(() => undefined)
      })
      hls.loadSource(liveHlsUrl(camera, stream))
      hls.attachMedia(video)
    })
  } finally {
    cancelFirst()
    hls.destroy()
    if (connections.hls[camera] === hls) delete connections.hls[camera]
  }
}

const recoveredOnce = new WeakSet<Hls>()

/** A decoder that choked is reset once in place, which is quicker than a new start. */
function recovered(hls: Hls, data: ErrorData, Library: typeof Hls): boolean {
  if (data.type !== Library.ErrorTypes.MEDIA_ERROR || recoveredOnce.has(hls)) return false
  recoveredOnce.add(hls)
  hls.recoverMediaError()
  return true
}

export interface RecordedEvents {
  onPlaying: () => void
  onError: (error: Error) => void
}

/** One span of recorded footage in a video element. `close` when done. */
export class RecordedSpan {
  #hls: Hls | null = null
  #closed = false
  /** Where on the video's time line the picture lies that was asked for; until it is there nothing is shown. */
  #wantedS = Number.POSITIVE_INFINITY
  #arrived = false
  #forgetFirst: () => void = () => undefined

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly camera: string,
    private readonly stream: StreamName,
    readonly startMs: number,
    readonly endMs: number,
    private readonly events: RecordedEvents,
    /** Keyframes alone. */
    private readonly keys = false,
  ) {}

  /** Loads the span and starts to play at `atMs`. */
  async open(atMs: number): Promise<void> {
    const startedMs = performance.now()
    const { hls, Library } = await openHls(this.keys ? KEYS_CONFIG : VOD_CONFIG)
    if (this.#closed) return hls.destroy()
    this.#hls = hls
    connections.hls[this.camera] = hls
    // a keyframe comes first, and is up to a GOP too early
    this.video.style.opacity = '0'
    const isIt = () => !this.video.seeking && this.video.currentTime >= this.#wantedS - 0.001
    this.#forgetFirst = onFirstPicture(this.video, `${this.camera}/recorded`, startedMs, () => this.#arrive(), isIt)
    hls.on(Library.Events.ERROR, (_event, data) => {
      if (data.fatal && !recovered(hls, data, Library)) void toError(data).then(this.events.onError)
    })
    hls.once(Library.Events.LEVEL_LOADED, (_event, data) => {
      // the server cuts to whole GOPs, so the playlist begins a little before what was asked for
      const position = mediaAt(timed(data.details.fragments), atMs)
      this.#wantedS = position ?? 0
      if (position !== null) whenSeekable(this.video, () => this.#closed || (this.video.currentTime = position))
      void this.video.play().catch(() => undefined)
    })
    hls.loadSource(playbackUrl(this.camera, this.stream, this.startMs, this.endMs, this.keys))
    hls.attachMedia(this.video)
  }

  /** Wall time, ms, of the picture that is shown; null until known. */
  wallMs(): number | null {
    if (!this.#arrived) return null
    return wallAt(this.#fragments(), this.video.currentTime)
  }

  /** Goes to a time inside the span; false where the loaded playlist does not reach it. */
  seek(wallMs: number): boolean {
    const fragments = this.#fragments()
    const first = fragments[0]?.programDateTime
    const position = mediaAt(fragments, wallMs)
    if (position === null || first === null || first === undefined || wallMs < first) return false
    this.#wantedS = position
    this.video.currentTime = position
    return true
  }

  #arrive(): void {
    if (this.#closed) return
    this.#arrived = true
    this.video.style.opacity = ''
    this.events.onPlaying()
  }

  close(): void {
    this.#closed = true
    this.#forgetFirst()
    this.video.style.opacity = ''
    this.#hls?.destroy()
    if (this.#hls && connections.hls[this.camera] === this.#hls) delete connections.hls[this.camera]
    this.#hls = null
  }

  #fragments(): TimedFragment[] {
    const level = this.#hls?.levels[Math.max(0, this.#hls.currentLevel)]
    return level?.details ? timed(level.details.fragments) : []
  }
}

function timed(fragments: readonly Fragment[]): TimedFragment[] {
  return fragments.map(({ start, duration, programDateTime }) => ({ start, duration, programDateTime }))
}

function whenSeekable(video: HTMLVideoElement, then: () => void): void {
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) then()
  else video.addEventListener('loadedmetadata', then, { once: true })
}

export interface HlsFacts {
  width: number
  height: number
  codec: string
  /** Seconds between the live edge's wall time and the picture; null for recorded footage. */
  behindLiveS: number | null
  pictureMs: number | null
}

/** Figures of the HLS stream that `video` plays; null before its first picture. */
export function readHlsFacts(camera: string, video: HTMLVideoElement): HlsFacts | null {
  const hls = connections.hls[camera]
  const level = hls?.levels[Math.max(0, hls.currentLevel)]
  if (!hls || !level || video.videoWidth === 0) return null
  return {
    width: video.videoWidth,
    height: video.videoHeight,
    codec: level.videoCodec ?? '',
    behindLiveS: level.details?.live ? hls.latency : null,
    pictureMs: hls.playingDate?.getTime() ?? null,
  }
}
