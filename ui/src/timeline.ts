/** The arithmetic of the timeline: views, ticks, what lies where. Pure; times are ms since 1970. */

export interface View {
  startMs: number
  endMs: number
}

export interface SpanMs {
  startMs: number
  endMs: number
}

export interface Tick {
  atMs: number
  major: boolean
}

export type CauseKind = 'camera' | 'server' | 'decision' | 'starting'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
export const SHORTEST_VIEW_MS = MINUTE

/** A minor step and the major one that gets a label, from fine to coarse. */
const STEPS: readonly (readonly [number, number])[] = [
  [SECOND, 5 * SECOND],
  [SECOND, 10 * SECOND],
  [5 * SECOND, 30 * SECOND],
  [10 * SECOND, MINUTE],
  [30 * SECOND, 5 * MINUTE],
  [MINUTE, 10 * MINUTE],
  [5 * MINUTE, 30 * MINUTE],
  [10 * MINUTE, HOUR],
  [30 * MINUTE, 2 * HOUR],
  [HOUR, 3 * HOUR],
  [HOUR, 6 * HOUR],
  [3 * HOUR, 12 * HOUR],
]

const KINDS: Readonly<Record<string, CauseKind>> = {
  server_down: 'server',
  spool_full: 'server',
  footage_dropped: 'server',
  footage_missing: 'server',
  clock_step: 'server',
  owner_change: 'server',
  node_lost: 'server',
  lease_lost: 'server',
  catalogue_behind: 'server',
  replaced: 'server',
  not_recording: 'decision',
  outside_schedule: 'decision',
  no_event: 'decision',
  attestation_missing: 'decision',
  other_stream_recorded: 'decision',
  settings_changed: 'decision',
  retention: 'decision',
  destroyed: 'decision',
  camera_removed: 'decision',
  camera_disabled: 'decision',
  waiting_keyframe: 'starting',
  format_changed: 'starting',
}

/** Who a gap is down to; causes that are not the server's or a person's are the camera's (docs/reasons.md). */
export function causeKind(cause: string): CauseKind {
  return KINDS[cause] ?? 'camera'
}

/** The local day that holds `ms`; 23 or 25 hours long where the clocks change. */
export function dayOf(ms: number): View {
  const start = new Date(ms)
  start.setHours(0, 0, 0, 0)
  const end = new Date(start)
  end.setDate(end.getDate() + 1)
  return { startMs: start.getTime(), endMs: end.getTime() }
}

/** The local day `days` after the one that starts at `startMs`. */
export function addDays(startMs: number, days: number): View {
  const date = new Date(startMs)
  date.setDate(date.getDate() + days)
  return dayOf(date.getTime())
}

export function toX(view: View, width: number, ms: number): number {
  return ((ms - view.startMs) / (view.endMs - view.startMs)) * width
}

export function toMs(view: View, width: number, x: number): number {
  return view.startMs + (x / width) * (view.endMs - view.startMs)
}

/** Scales the view by `factor` (below 1 zooms in) around `anchorMs`, which stays where it is, inside `bounds`. */
export function zoom(view: View, factor: number, anchorMs: number, bounds: View): View {
  const length = view.endMs - view.startMs
  const longest = bounds.endMs - bounds.startMs
  const wanted = Math.min(longest, Math.max(SHORTEST_VIEW_MS, length * factor))
  const startMs = anchorMs - ((anchorMs - view.startMs) / length) * wanted
  return clamp({ startMs, endMs: startMs + wanted }, bounds)
}

/** Moves the view by `byMs`, stopping at the bounds. */
export function pan(view: View, byMs: number, bounds: View): View {
  return clamp({ startMs: view.startMs + byMs, endMs: view.endMs + byMs }, bounds)
}

/** The same length inside `bounds`; a view longer than they are becomes them. */
export function clamp(view: View, bounds: View): View {
  const length = view.endMs - view.startMs
  if (length >= bounds.endMs - bounds.startMs) return { ...bounds }
  const startMs = Math.min(Math.max(view.startMs, bounds.startMs), bounds.endMs - length)
  return { startMs, endMs: startMs + length }
}

/** Moves the view only as far as needed to show `ms` clear of its right edge. */
export function follow(view: View, ms: number, bounds: View): View {
  const length = view.endMs - view.startMs
  if (ms >= view.startMs && ms <= view.endMs - length * 0.02) return view
  return clamp({ startMs: ms - length * 0.1, endMs: ms + length * 0.9 }, bounds)
}

/** Ticks on round local times, the labelled ones at least `labelPx` apart. */
export function ticks(view: View, width: number, labelPx = 70): Tick[] {
  const perPixel = (view.endMs - view.startMs) / Math.max(1, width)
  const [minor, major] = STEPS.find((step) => step[1] >= perPixel * labelPx) ?? [6 * HOUR, 24 * HOUR]
  const midnight = dayOf(view.startMs).startMs
  const found: Tick[] = []
  const first = midnight + Math.ceil((view.startMs - midnight) / minor) * minor
  for (let atMs = first; atMs <= view.endMs; atMs += minor) {
    found.push({ atMs, major: (atMs - midnight) % major === 0 })
  }
  return found
}

/** The first time at or after `ms` with footage, or null. Spans are sorted and do not overlap. */
export function nextCovered(spans: readonly SpanMs[], ms: number): number | null {
  for (const span of spans) if (ms < span.endMs) return Math.max(ms, span.startMs)
  return null
}

/** The span that holds `ms`, or null. */
export function spanAt<T extends SpanMs>(spans: readonly T[], ms: number): T | null {
  return spans.find((span) => ms >= span.startMs && ms < span.endMs) ?? null
}

/** How much of `view` the spans cover, in ms. */
export function coveredMs(spans: readonly SpanMs[], view: View): number {
  const inside = (span: SpanMs) => Math.min(span.endMs, view.endMs) - Math.max(span.startMs, view.startMs)
  return spans.reduce((sum, span) => sum + Math.max(0, inside(span)), 0)
}

/** Joins neighbours closer than `withinMs`: what is less than a pixel apart is drawn as one. */
export function merge(spans: readonly SpanMs[], withinMs: number): SpanMs[] {
  const merged: SpanMs[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last && span.startMs - last.endMs <= withinMs) last.endMs = Math.max(last.endMs, span.endMs)
    else merged.push({ ...span })
  }
  return merged
}

/** The last two hours of a day that goes on; all of one that is over. */
export function recentView(day: View, nowMs: number): View {
  if (nowMs < day.startMs || nowMs >= day.endMs) return day
  return clamp({ startMs: nowMs - 1.9 * HOUR, endMs: nowMs + 0.1 * HOUR }, day)
}

/** What to show of a day at first: all of it, or closer in where all its footage fits into two hours. */
export function initialView(day: View, coverage: readonly SpanMs[], nowMs: number): View {
  const first = coverage[0]
  const last = coverage.at(-1)
  if (!first || !last) return day
  const endMs = nowMs < day.endMs ? Math.max(last.endMs, nowMs) : last.endMs
  const length = endMs - first.startMs
  if (length > 2 * HOUR) return day
  const margin = Math.max(5 * MINUTE, length * 0.2)
  return clamp({ startMs: first.startMs - margin, endMs: endMs + margin }, day)
}
