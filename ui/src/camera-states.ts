/**
 * States of cameras as the server tells them by server-sent events (docs/api.md, "States of cameras"): the cameras first,
 * then what changes about them.
 */
import { backoffMs } from './backoff'
import type { Camera } from './types'

export const STATES_URL = '/api/v1/camera-states'
/** `beat` says nothing but that the connection lives. */
const EVENTS = ['cameras', 'camera', 'gone', 'told', 'beat'] as const

/** `up`: the connection is there, and `cameras` have come; `down`: it is not, so whoever needs states asks for them. */
export type StatesEvent = (typeof EVENTS)[number] | 'up' | 'down'

/** What one hands on to another as it is; `data` is JSON. */
export interface StatesMessage {
  event: StatesEvent
  data: string
}

export const UP: StatesMessage = { event: 'up', data: '{}' }
export const DOWN: StatesMessage = { event: 'down', data: '{}' }

/** The list after an event; the same one where the event is about something else. Pure. */
export function applyStates(list: Camera[], { event, data }: StatesMessage): Camera[] {
  switch (event) {
    case 'cameras':
      return (JSON.parse(data) as { cameras: Camera[] }).cameras
    case 'camera': {
      const changed = JSON.parse(data) as Partial<Camera> & { id: string }
      const known = list.some((camera) => camera.id === changed.id)
      if (!known) return [...list, changed as Camera]
      return list.map((camera) => (camera.id === changed.id ? { ...camera, ...changed } : camera))
    }
    case 'gone': {
      const { id } = JSON.parse(data) as { id: string }
      return list.filter((camera) => camera.id !== id)
    }
    default:
      return list
  }
}

/** What one has heard so far, for whoever comes later. */
export class StatesHeard {
  #cameras: Camera[] | null = null
  #isUp = false

  /** Null before the first `cameras`: what changes about a list that was not heard makes none. */
  get cameras(): Camera[] | null {
    return this.#cameras
  }

  get isUp(): boolean {
    return this.#isUp
  }

  take(message: StatesMessage): void {
    if (message.event === 'up' || message.event === 'down') this.#isUp = message.event === 'up'
    if (this.#cameras || message.event === 'cameras') this.#cameras = applyStates(this.#cameras ?? [], message)
  }

  /** Where things stand, in the messages that lead there. */
  retold(): StatesMessage[] {
    if (!this.#isUp || !this.#cameras) return [DOWN]
    return [{ event: 'cameras', data: JSON.stringify({ cameras: this.#cameras }) }, UP]
  }

  forget(): void {
    this.#cameras = null
    this.#isUp = false
  }
}

/** Three times what the server lets pass at most in silence. */
const SILENT_MS = 45_000
const REFUSED_BACKOFF = { firstMs: 10_000, mostMs: 60_000 }

/** One connection, kept up until `close`. */
export class StatesConnection {
  #source: EventSource | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #isUp = false
  #failures = 0

  constructor(private readonly tell: (message: StatesMessage) => void) {
    this.#open()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#source?.close()
    this.#source = null
  }

  #open(): void {
    this.close()
    const source = new EventSource(STATES_URL)
    this.#source = source
    for (const event of EVENTS) {
      source.addEventListener(event, (message) => this.#hear(event, (message as MessageEvent<string>).data))
    }
    source.onerror = () => {
      this.#down()
      // a connection that broke is opened again by itself, one that was refused is not
      if (source.readyState === EventSource.CLOSED) this.#again(backoffMs((this.#failures += 1), REFUSED_BACKOFF))
    }
    this.#again(SILENT_MS)
  }

  #hear(event: StatesEvent, data: string): void {
    this.#again(SILENT_MS)
    this.tell({ event, data })
    if (this.#isUp || event !== 'cameras') return
    this.#isUp = true
    this.#failures = 0
    this.tell(UP)
  }

  #again(afterMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#down()
      this.#open()
    }, afterMs)
  }

  #down(): void {
    if (this.#isUp) this.tell(DOWN)
    this.#isUp = false
  }
}
