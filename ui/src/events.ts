/** What a camera told on one day: read page by page, followed, and put together into what lasted from when to when. */
import { useMemo } from 'preact/hooks'
import { api } from './api'
import { Poller, usePolled } from './poller'
import { followTold } from './states'
import type { SpanMs, View } from './timeline'
import type { CameraEvent, EventKind, EventsPage } from './types'

export const EVENT_KINDS: readonly EventKind[] = ['motion', 'tamper', 'digital_input', 'storage']

/** A state of a camera from the event that it began to the one that it ended, server time. */
export interface Occurrence {
  key: string
  kind: EventKind
  source: string
  /** Null: it had begun before the span that was asked for. */
  beganMs: number | null
  /** Null: no end was told so far. */
  endedMs: number | null
  /** By the camera's own clock: when it began, or where that is unknown when it ended. */
  cameraMs: number | null
}

const POLL_MS = 3000
/** Pages of one round: a day of a camera that tells a lot comes in several rounds. */
const MOST_PAGES = 10
/** What came at the end of a day may be kept some moments later. */
const SETTLED_MS = 60_000

type Ask = (after: number, signal: AbortSignal) => Promise<EventsPage>

/** The events of a span, in the order in which they were kept; each call of `read` asks for what is new. */
export class EventFeed {
  #events: CameraEvent[] = []
  #isWhole = false

  constructor(
    private readonly ask: Ask,
    private readonly endMs: number,
  ) {}

  /** The same array where there is nothing new. Of a day that is over, nothing is asked any more. */
  async read(signal: AbortSignal): Promise<CameraEvent[]> {
    for (let pages = 0; pages < MOST_PAGES && !this.#isWhole; pages += 1) {
      const askedMs = Date.now()
      const page = await this.ask(this.#events.at(-1)?.id ?? 0, signal)
      if (page.events.length > 0) this.#events = [...this.#events, ...page.events]
      if (page.more) continue
      this.#isWhole = askedMs > this.endMs + SETTLED_MS
      break
    }
    return this.#events
  }
}

/** Begins and ends put together by kind and source, by beginning, oldest first. */
export function toOccurrences(events: readonly CameraEvent[]): Occurrence[] {
  /** The last one of each source. */
  const last = new Map<string, Occurrence>()
  const all: Occurrence[] = []
  const sorted = events.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at) || a.id - b.id)
  for (const event of sorted) {
    const source = `${event.kind} ${event.source}`
    const before = last.get(source)
    const isOpen = before !== undefined && before.endedMs === null
    const atMs = Date.parse(event.at)
    if (isOpen && !event.active) before.endedMs = atMs
    if (isOpen || (before && !event.active)) continue // told twice changes nothing
    const { kind, source: name } = event
    const cameraMs = event.camera_at === null ? null : Date.parse(event.camera_at)
    const times = event.active ? { beganMs: atMs, endedMs: null } : { beganMs: null, endedMs: atMs }
    const occurrence = { key: String(event.id), kind, source: name, cameraMs, ...times }
    last.set(source, occurrence)
    all.push(occurrence)
  }
  const begin = ({ beganMs }: Occurrence) => beganMs ?? 0
  return all.sort((a, b) => begin(a) - begin(b))
}

/** Where an occurrence lies on the timeline of `day`: one without an end lasts until now, or until the day is over. */
export function spanOf({ beganMs, endedMs }: Occurrence, day: View, nowMs: number): SpanMs {
  const startMs = beganMs ?? day.startMs
  return { startMs, endMs: Math.max(startMs, endedMs ?? Math.min(nowMs, day.endMs)) }
}

/** The occurrence at `atMs`, or the nearest one within `slackMs`: what is drawn wider than it is can be hit. */
export function occurrenceNear(
  list: readonly Occurrence[],
  atMs: number,
  slackMs: number,
  day: View,
  nowMs: number,
): Occurrence | null {
  let best: Occurrence | null = null
  let nearest = slackMs
  for (const one of list) {
    const { startMs, endMs } = spanOf(one, day, nowMs)
    const away = Math.max(0, startMs - atMs, atMs - endMs)
    if (away > nearest || (away === nearest && best !== null && away > 0)) continue
    nearest = away
    best = one
  }
  return best
}

export interface DayEvents {
  /** Null until the first answer. */
  occurrences: Occurrence[] | null
  error: unknown
}

/** What the camera told on this day, followed while it goes on. `enabled` false asks nothing. */
export function useDayEvents(camera: string, day: View, enabled: boolean): DayEvents {
  const poller = useMemo(() => {
    if (!enabled) return null
    const feed = new EventFeed((after, signal) => api.events(camera, day.startMs, day.endMs, after, signal), day.endMs)
    return new Poller((signal) => feed.read(signal), POLL_MS, followTold(camera))
  }, [camera, day.startMs, enabled])
  const { value, error } = usePolled(poller)
  const occurrences = useMemo(() => (value === null ? null : toOccurrences(value)), [value])
  return { occurrences, error }
}
