/**
 * Moves a camera while somebody holds a key or a button, and stops it when nobody does.
 *
 * Commands go out one after the other. A move is repeated well within the time after which the server stops the camera
 * by itself, so whatever becomes of this page, the camera stands still soon after. The first command that fails ends
 * the movement: what comes next is up to the person.
 */
import { Alarm } from './backoff'
import type { PtzCommand } from './types'

export interface PtzMoverOptions {
  send: (command: PtzCommand) => Promise<unknown>
  repeatMs: number
  /** What is under way now; null: the camera stands. */
  onMove: (command: PtzCommand | null) => void
  onError: (error: unknown) => void
  /** A movement has ended, or was refused: who holds the camera may have changed. */
  onTurn: () => void
}

export class PtzMover {
  /** Who holds, such as one pointer or the keyboard: only they let go. */
  #by: string | null = null
  #wanted: PtzCommand | null = null
  #isRunning = false
  #isSending = false
  readonly #alarm = new Alarm()
  readonly #signal = new AbortController().signal

  constructor(private readonly options: PtzMoverOptions) {}

  /** Moves, or goes on in another direction; the newest hand counts. */
  hold(by: string, command: PtzCommand): void {
    this.#by = by
    if (JSON.stringify(command) === JSON.stringify(this.#wanted)) return
    this.#wanted = command
    this.options.onMove(command)
    if (this.#isRunning) this.#alarm.ring()
    else void this.#run()
  }

  /** Stops at once, if it is `by` who moves; without a name, whoever does. */
  release(by: string | null = null): void {
    if (this.#wanted === null || (by !== null && by !== this.#by)) return
    const was = this.#wanted
    this.#letGo()
    // a move that is under way may arrive behind this stop: another one follows when it is answered
    if (this.#isSending && was.move === 'continuous') void this.options.send({ move: 'stop' }).catch(() => undefined)
    this.#alarm.ring()
  }

  #letGo(): void {
    this.#wanted = null
    this.options.onMove(null)
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    while (this.#wanted) await this.#moveAndStop()
    this.#isRunning = false
  }

  async #moveAndStop(): Promise<void> {
    let glides = false
    let failed = false
    while (this.#wanted && !failed) {
      const sent: PtzCommand = this.#wanted
      glides ||= sent.move === 'continuous'
      failed = !(await this.#sent(sent))
      if (this.#wanted === sent) await this.#alarm.sleep(this.options.repeatMs, this.#signal)
    }
    if (glides) await this.#stop(failed)
    this.options.onTurn()
  }

  async #sent(command: PtzCommand): Promise<boolean> {
    this.#isSending = true
    try {
      await this.options.send(command)
      return true
    } catch (error) {
      if (this.#wanted) this.#letGo()
      this.options.onError(error)
      return false
    } finally {
      this.#isSending = false
    }
  }

  /** Also after a move that failed: it may have arrived all the same. Then only that failure is told. */
  async #stop(quietly: boolean): Promise<void> {
    try {
      await this.options.send({ move: 'stop' })
    } catch (error) {
      if (!quietly) this.options.onError(error)
    }
  }
}
