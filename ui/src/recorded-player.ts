/** Plays recorded footage from any time on: finds it, loads span after span, tells the wall time of the picture. */
import { playbackUrl, send } from './api'
import { RecordedSpan } from './hls-player'
import type { StreamName } from './types'

/**
 * The first playlist is short, since the server reads the index of each recorded minute in it before the first picture;
 * those that follow are twice as long each, up to what the server allows by far, so that spans change rarely.
 */
const FIRST_SPAN_MS = 3 * 60 * 1000
const LONGEST_SPAN_MS = 48 * 60 * 1000
/** Faster than this only keyframes are played: nobody takes in more, and no line carries it. */
export const ALL_PICTURES_UP_TO = 4
/** So long before its end the span that follows is made ready on the server. */
const READY_AHEAD_MS = 15_000
const READY_TIMEOUT_MS = 15_000
const USUAL_PICTURE_S = 1 / 25
const CLOCK_MS = 200
/** So close behind now there is nothing left to load: the live picture is next. */
const CAUGHT_UP_MS = 5000

export type RecordedState =
  | { kind: 'loading' }
  | { kind: 'playing' }
  /** No footage at or after the time asked for. */
  | { kind: 'nothing' }
  | { kind: 'failed'; error: unknown }

export interface RecordedOptions {
  camera: string
  stream: StreamName
  /** The first time at or after this with footage, or null. */
  locate: (atMs: number) => Promise<number | null>
  onState: (state: RecordedState) => void
  /** Wall time of the picture, several times a second. */
  onClock: (wallMs: number) => void
  onCaughtUp: () => void
  /** True: keep showing the last picture, since playback goes on from it; false: it is over with that picture. */
  onHold: (hold: boolean) => void
}

export class RecordedPlayer {
  #span: RecordedSpan | null = null
  #capped = false
  #spanMs = FIRST_SPAN_MS
  #rate = 1
  #madeReady = false
  /** Where the picture that is shown lies on the video's time line, and how long pictures last there. */
  #shownS: number | null = null
  #pictureS = USUAL_PICTURE_S
  /** Rises with every seek, so that the answer to an overtaken one is dropped. */
  #attempt = 0
  readonly #timer: ReturnType<typeof setInterval>
  #frames = 0

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: RecordedOptions,
  ) {
    this.#timer = setInterval(() => this.#tell(), CLOCK_MS)
    video.addEventListener('ended', this.#onEnded)
    video.addEventListener('seeked', this.#onSeeked)
    this.#watchPictures()
  }

  /** 0.25 to 16 times; above `ALL_PICTURES_UP_TO` keyframes alone. */
  setRate(rate: number): void {
    const wasKeys = this.#keys
    this.#rate = rate
    this.video.playbackRate = this.video.defaultPlaybackRate = rate
    const atMs = this.#span?.wallMs()
    if (this.#keys === wasKeys || atMs === null || atMs === undefined) return
    this.options.onHold(true)
    this.#span?.close()
    this.#span = null
    void this.#playFrom(atMs)
  }

  /** Shows the picture after the one that is shown, or before it, and stays there. */
  step(direction: 1 | -1): void {
    this.video.pause()
    const shownS = this.#shownS ?? this.video.currentTime
    // into the next picture, or into the one before, clear of their edges
    this.video.currentTime = Math.max(0, shownS + this.#pictureS * (direction > 0 ? 1.1 : -0.9))
  }

  get #keys(): boolean {
    return this.#rate > ALL_PICTURES_UP_TO
  }

  #watchPictures(): void {
    this.#frames = this.video.requestVideoFrameCallback((_now, { mediaTime }) => {
      const apartS = mediaTime - (this.#shownS ?? mediaTime)
      // a frame may be left out, and after a seek pictures are far apart
      if (apartS > 0.005 && apartS < 0.5 && !this.#keys) {
        this.#pictureS = apartS < this.#pictureS * 1.5 ? apartS : this.#pictureS * 0.9 + apartS * 0.1
      }
      this.#shownS = mediaTime
      this.#watchPictures()
    })
  }

  /** Plays from `atMs`, or from where footage next begins. */
  async seek(atMs: number): Promise<void> {
    this.options.onState({ kind: 'loading' })
    this.options.onHold(false)
    this.#spanMs = FIRST_SPAN_MS
    await this.#playFrom(atMs)
  }

  async #playFrom(atMs: number): Promise<void> {
    const attempt = ++this.#attempt
    try {
      const found = await this.options.locate(atMs)
      if (attempt !== this.#attempt) return
      if (found === null) this.#nothing()
      else if (!this.#span?.seek(found)) await this.#open(found, attempt)
    } catch (error) {
      if (attempt === this.#attempt) this.options.onState({ kind: 'failed', error })
    }
  }

  close(): void {
    this.#attempt += 1
    clearInterval(this.#timer)
    this.video.cancelVideoFrameCallback(this.#frames)
    this.video.removeEventListener('ended', this.#onEnded)
    this.video.removeEventListener('seeked', this.#onSeeked)
    this.#span?.close()
    this.#span = null
  }

  #nothing(): void {
    this.#span?.close()
    this.#span = null
    this.options.onState({ kind: 'nothing' })
  }

  async #open(startMs: number, attempt: number): Promise<void> {
    this.#span?.close()
    const nowMs = Date.now()
    const endMs = Math.min(startMs + this.#spanMs, nowMs)
    this.#capped = endMs === nowMs
    this.#madeReady = false
    const { camera, stream } = this.options
    const events = {
      onPlaying: () => attempt === this.#attempt && this.options.onState({ kind: 'playing' }),
      onError: (error: Error) => attempt === this.#attempt && this.options.onState({ kind: 'failed', error }),
    }
    this.#span = new RecordedSpan(this.video, camera, stream, startMs, endMs, events, this.#keys)
    await this.#span.open(startMs)
  }

  readonly #onSeeked = (): void => {
    if (this.#span) this.options.onState({ kind: 'playing' })
  }

  readonly #onEnded = (): void => {
    const span = this.#span
    if (!span) return
    const endedMs = span.wallMs() ?? span.endMs
    if (Date.now() - endedMs < CAUGHT_UP_MS) return this.options.onCaughtUp()
    // a playlist cut at "now" may have ended before footage that was still on its way
    const nextMs = this.#capped ? endedMs : Math.max(endedMs, span.endMs)
    this.options.onHold(true)
    span.close()
    this.#span = null
    this.#spanMs = this.#nextSpanMs()
    void this.#playFrom(nextMs + 1)
  }

  #tell(): void {
    const wallMs = this.#span?.wallMs()
    if (!this.#span || wallMs === null || wallMs === undefined || this.video.seeking) return
    this.options.onClock(wallMs)
    if (this.#span.endMs - wallMs < READY_AHEAD_MS * this.#rate) this.#makeReady(this.#span.endMs)
  }

  #nextSpanMs(): number {
    return Math.min(LONGEST_SPAN_MS, this.#spanMs * 2)
  }

  /** The playlist that comes next, asked for ahead, so that the server has the indexes by then. */
  #makeReady(startMs: number): void {
    if (this.#madeReady || this.#capped) return
    this.#madeReady = true
    const endMs = Math.min(startMs + this.#nextSpanMs(), Date.now())
    if (endMs <= startMs) return
    const { camera, stream } = this.options
    void send(playbackUrl(camera, stream, startMs, endMs, this.#keys), {}, READY_TIMEOUT_MS).catch(() => undefined)
  }
}
