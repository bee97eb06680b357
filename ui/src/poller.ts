/** One question asked again and again, its answer shared by every component that wants it. */
import { useEffect, useState } from 'preact/hooks'
import { Alarm, backoffMs } from './backoff'

export interface Polled<T> {
  value: T | null
  /** What the last attempt threw; the last good value stays. */
  error: unknown
}

/** What may tell a poller that there is something new, so that it need not ask. */
export type Follow<T> = (to: {
  value: (value: T) => void
  /** While it is up, nothing is asked without a reason. */
  isUp: (isUp: boolean) => void
  /** There is something new: ask. */
  ask: () => void
}) => () => void

/** The last resort, were something missed. */
const FOLLOWED_MS = 600_000

export class Poller<T> {
  #isFollowing = false
  #isWished = false
  #state: Polled<T> = { value: null, error: null }
  readonly #listeners = new Set<(state: Polled<T>) => void>()
  #stop: AbortController | null = null
  readonly #alarm = new Alarm()

  constructor(
    private readonly ask: (signal: AbortSignal) => Promise<T>,
    private readonly intervalMs: number,
    private readonly follow?: Follow<T>,
  ) {}

  get state(): Polled<T> {
    return this.#state
  }

  /** Polls as long as anyone listens. */
  subscribe(listener: (state: Polled<T>) => void): () => void {
    this.#listeners.add(listener)
    if (!this.#stop) {
      this.#stop = new AbortController()
      void this.#run(this.#stop.signal)
      this.#follow(this.#stop.signal)
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      this.#stop?.abort()
      this.#stop = null
    }
  }

  /** Asks again at once, after a change; where an answer is under way, once more behind it. */
  refresh(): void {
    this.#isWished = true
    this.#alarm.ring()
  }

  /** Forgets the answer: another account must not see it for even one render. */
  reset(): void {
    this.#set({ value: null, error: null })
  }

  #follow(signal: AbortSignal): void {
    const unfollow = this.follow?.({
      value: (value) => this.#set({ value, error: null }),
      ask: () => this.refresh(),
      isUp: (isUp) => {
        const wasUp = this.#isFollowing
        this.#isFollowing = isUp
        if (wasUp && !isUp) this.refresh()
      },
    })
    signal.addEventListener('abort', () => {
      this.#isFollowing = false
      unfollow?.()
    })
  }

  async #run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      this.#isWished = false
      try {
        const value = await this.ask(signal)
        if (signal.aborted) return
        failures = 0
        this.#set({ value, error: null })
      } catch (error) {
        if (signal.aborted) return
        failures += 1
        this.#set({ value: this.#state.value, error })
      }
      if (!this.#isWished) await this.#alarm.sleep(this.#waitMs(failures), signal)
    }
  }

  #waitMs(failures: number): number {
    if (failures > 0) return backoffMs(failures, { firstMs: this.intervalMs, mostMs: 30_000 })
    return this.#isFollowing ? FOLLOWED_MS : this.intervalMs
  }

  #set(state: Polled<T>): void {
    this.#state = state
    for (const listener of this.#listeners) listener(state)
  }
}

const NOTHING: Polled<never> = { value: null, error: null }

/** Subscribes the component to a poller; null asks nothing. */
export function usePolled<T>(poller: Poller<T> | null): Polled<T> {
  const [, render] = useState<Polled<T> | null>(null)
  useEffect(() => {
    render(poller?.state ?? null)
    return poller?.subscribe(render)
  }, [poller])
  // not what was rendered last: that may be of another poller
  return poller?.state ?? NOTHING
}
