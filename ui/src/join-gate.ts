/**
 * Spreads joins: a wall that opens, or a server that comes back, must not make every tile join at once
 * (each join costs the server a DTLS handshake, and a storm of them stalls the pictures of those who watch).
 */
export class JoinGate {
  #running = 0
  readonly #waiting: (() => void)[] = []

  /** At most `most` joins are under way at once. */
  constructor(private readonly most: number) {}

  /** Waits for a turn; the answer gives it back (calling it twice does no harm). Rejects when `signal` aborts. */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#running >= this.most) await this.#turn(signal)
    else this.#running += 1
    return this.#once(() => this.#leave())
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1)
        reject(signal.reason as Error)
      }
      this.#waiting.push(go)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#running -= 1
  }

  #once(leave: () => void): () => void {
    let left = false
    return () => {
      if (!left) leave()
      left = true
    }
  }
}
