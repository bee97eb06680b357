/** Exponential back-off with full jitter on its upper half, so that many players never retry in step. */
export interface BackoffOptions {
  firstMs: number
  mostMs: number
}

/** The wait before attempt `failures + 1`: between half of and the whole of first·2^(failures-1), at most `mostMs`. */
export function backoffMs(failures: number, options: BackoffOptions, random: () => number = Math.random): number {
  const full = Math.min(options.mostMs, options.firstMs * 2 ** Math.max(0, failures - 1))
  return full / 2 + (full / 2) * random()
}

/** Waits, or rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const stop = () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve()
    }, ms)
    signal.addEventListener('abort', stop, { once: true })
  })
}

/** A sleep that can be cut short: `ring` ends those under way and leaves later ones alone. */
export class Alarm {
  #bell = new AbortController()

  /** Ends after `ms`, when rung, or when `signal` aborts; never rejects. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, AbortSignal.any([signal, this.#bell.signal])).catch(() => undefined)
  }

  ring(): void {
    this.#bell.abort()
    this.#bell = new AbortController()
  }
}
