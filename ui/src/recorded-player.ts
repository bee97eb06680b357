/** Plays recorded footage from any time on: finds it, loads span after span, tells the wall time of the picture. */
import { RecordedSpan } from './hls-player'
import type { StreamName } from './types'

/** Well below what the server allows in one playlist; long enough that spans change rarely. */
const SPAN_MS = 30 * 60 * 1000
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
  /** Rises with every seek, so that the answer to an overtaken one is dropped. */
  #attempt = 0
  readonly #timer: ReturnType<typeof setInterval>

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: RecordedOptions,
  ) {
    this.#timer = setInterval(() => this.#tell(), CLOCK_MS)
    video.addEventListener('ended', this.#onEnded)
    video.addEventListener('seeked', this.#onSeeked)
  }

  /** Plays from `atMs`, or from where footage next begins. */
  async seek(atMs: number): Promise<void> {
    this.options.onState({ kind: 'loading' })
    this.options.onHold(false)
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
    const endMs = Math.min(startMs + SPAN_MS, nowMs)
    this.#capped = endMs === nowMs
    const { camera, stream } = this.options
    this.#span = new RecordedSpan(this.video, camera, stream, startMs, endMs, {
      onPlaying: () => attempt === this.#attempt && this.options.onState({ kind: 'playing' }),
      onError: (error) => attempt === this.#attempt && this.options.onState({ kind: 'failed', error }),
    })
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
    void this.#playFrom(nextMs + 1)
  }

  #tell(): void {
    const wallMs = this.#span?.wallMs()
    if (wallMs !== null && wallMs !== undefined && !this.video.seeking) this.options.onClock(wallMs)
  }
}
