/** Recorded footage of several cameras in step: one clock, and players that follow it, each over its own gaps. */
import type { Footage, GapMs } from './footage'
import { RecordedSpan } from './hls-player'
import { ALL_PICTURES_UP_TO } from './recorded-player'
import { nextCovered, spanAt } from './timeline'
import type { StreamName } from './types'

const SPAN_MS = 6 * 60 * 1000
/** Further off than this is no drift: the player goes there. */
const JUMP_MS = 600
/** A seek takes its time, and until then there is nothing to judge. */
const JUMP_REST_MS = 1500
/** What nobody sees is let be. */
const STEADY_MS = 12
/** How much of a drift is taken back in a second, and by how much the speed may differ for it. */
const PULL = 0.7
const MOST_PULL = 0.12
/** As long as this the clock waits for those who are late, and then goes without them. */
const PATIENCE_MS = 5000
const STILL_MS = 30
const FASTEST = 16

/** Wall time of what is looked at, ms; goes on by itself while it runs. */
export class StepClock {
  running = false
  rate = 1
  /** Rises each time somebody goes elsewhere: then all go there at once, those that failed try again. */
  moves = 0
  #atMs: number
  #sinceMs = 0

  constructor(atMs: number) {
    this.#atMs = atMs
  }

  now(): number {
    return this.running ? this.#atMs + (performance.now() - this.#sinceMs) * this.rate : this.#atMs
  }

  set(atMs: number): void {
    this.#atMs = atMs
    this.#sinceMs = performance.now()
  }

  goTo(atMs: number): void {
    this.running = false
    this.moves += 1
    this.set(atMs)
  }

  run(running: boolean): void {
    this.set(this.now())
    this.running = running
  }

  setRate(rate: number): void {
    this.set(this.now())
    this.rate = rate
  }
}

export type SyncedState =
  | { kind: 'loading' }
  | { kind: 'playing' }
  /** It has nothing at this time: why, and when it goes on (null: not that day). */
  | { kind: 'gap'; gap: GapMs | null; untilMs: number | null }
  | { kind: 'failed'; error: unknown }

/** One camera's video. Call `follow` ten times a second or so. */
export class SyncedPlayer {
  state: SyncedState = { kind: 'loading' }
  #span: RecordedSpan | null = null
  #keys = false
  #jumpedMs = Number.NEGATIVE_INFINITY
  #moves = 0

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly camera: string,
    private readonly stream: StreamName,
    private readonly clock: StepClock,
  ) {}

  /** By how much its picture is ahead of the clock, ms; null while it shows none of this time. */
  get driftMs(): number | null {
    const wallMs = this.#span?.wallMs()
    return this.state.kind === 'playing' && wallMs !== null && wallMs !== undefined ? wallMs - this.clock.now() : null
  }

  /** The clock need not wait for it. */
  get ready(): boolean {
    return this.state.kind !== 'loading'
  }

  follow(footage: Footage | null): void {
    if (this.#moves !== this.clock.moves) this.#startAnew()
    if (!footage || this.state.kind === 'failed') return
    const wantedMs = this.clock.now()
    const startMs = nextCovered(footage.coverage, wantedMs)
    if (startMs === null) return this.#rest(footage, wantedMs, null)
    const keys = this.clock.rate > ALL_PICTURES_UP_TO
    if (!this.#span || startMs < this.#span.startMs || startMs >= this.#span.endMs || keys !== this.#keys) {
      return this.#open(startMs, keys)
    }
    const wallMs = this.#span.wallMs()
    if (wallMs === null || this.video.readyState < HTMLMediaElement.HAVE_METADATA) return
    if (startMs > wantedMs + STILL_MS) {
      // the first picture behind the gap waits for the clock
      if (Math.abs(wallMs - startMs) > JUMP_MS) this.#jump(startMs)
      return this.#rest(footage, wantedMs, startMs)
    }
    this.#keepUp(wallMs, wantedMs)
  }

  close(): void {
    this.#span?.close()
    this.#span = null
  }

  #startAnew(): void {
    this.#moves = this.clock.moves
    this.#jumpedMs = Number.NEGATIVE_INFINITY
    if (this.state.kind === 'failed') this.close()
    this.state = { kind: 'loading' }
  }

  #keepUp(wallMs: number, wantedMs: number): void {
    const driftMs = wallMs - wantedMs
    const far = Math.abs(driftMs) > (this.clock.running ? JUMP_MS * Math.max(1, this.clock.rate) : STILL_MS)
    if (far) this.#jump(wantedMs)
    if (this.video.seeking || this.video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) {
      // behind a clock that runs nothing is to be waited for: it comes, and catches up
      if (!this.clock.running) this.state = { kind: 'loading' }
      return
    }
    this.state = { kind: 'playing' }
    if (!this.clock.running) return this.video.pause()
    const pull = Math.abs(driftMs) < STEADY_MS ? 0 : Math.max(-MOST_PULL, Math.min(MOST_PULL, (-driftMs / 1000) * PULL))
    this.video.playbackRate = Math.min(FASTEST, this.clock.rate * (1 + pull))
    if (this.video.paused) void this.video.play().catch(() => undefined)
  }

  #rest(footage: Footage, wantedMs: number, untilMs: number | null): void {
    this.video.pause()
    this.state = { kind: 'gap', gap: spanAt(footage.gaps, wantedMs), untilMs }
  }

  #jump(toMs: number): void {
    if (this.video.seeking || performance.now() - this.#jumpedMs < JUMP_REST_MS) return
    this.#jumpedMs = performance.now()
    if (!this.#span?.seek(toMs)) this.close()
  }

  #open(startMs: number, keys: boolean): void {
    this.close()
    this.state = { kind: 'loading' }
    this.#keys = keys
    this.#jumpedMs = performance.now()
    const endMs = Math.min(startMs + SPAN_MS * Math.max(1, this.clock.rate), Date.now())
    const span = new RecordedSpan(
      this.video,
      this.camera,
      this.stream,
      startMs,
      Math.max(endMs, startMs + 1),
      {
        onPlaying: () => undefined,
        onError: (error) => this.#span === span && (this.state = { kind: 'failed', error }),
      },
      keys,
    )
    this.#span = span
    span.open(startMs).catch((error: unknown) => (this.state = { kind: 'failed', error }))
  }
}

/** Lets the clock run once everybody is ready; `waitedMs` is for how long it has been held back. */
export function mayRun(players: Iterable<SyncedPlayer>, waitedMs: number): boolean {
  return waitedMs > PATIENCE_MS || [...players].every((player) => player.ready)
}
