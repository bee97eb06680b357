/** What the timeline knows, in numbers instead of strings, and where footage next is. */
import { useEffect, useState } from 'preact/hooks'
import { api } from './api'
import { sleep } from './backoff'
import { type SpanMs, type View, nextCovered } from './timeline'
import type { Gap, Span, StreamName, Timeline } from './types'

export interface GapMs extends SpanMs {
  cause: string
  sentence: string
  sentence_vi?: string
}

export interface Footage extends SpanMs {
  coverage: SpanMs[]
  gaps: GapMs[]
  holds: SpanMs[]
}

const REFRESH_MS = 5000
const RETRY_MS = 10_000
/** How far ahead footage is looked for when a click lies past what is loaded. */
const AHEAD_MS = 24 * 3600 * 1000

const ms = (span: Span): SpanMs => ({ startMs: Date.parse(span.start), endMs: Date.parse(span.end) })

function gapMs(gap: Gap): GapMs {
  const { cause, sentence } = gap
  return { ...ms(gap), cause, sentence, ...(gap.sentence_vi ? { sentence_vi: gap.sentence_vi } : {}) }
}

/** The API's answer with times as numbers, each list sorted by start. */
export function toFootage(timeline: Timeline): Footage {
  const byStart = (a: SpanMs, b: SpanMs) => a.startMs - b.startMs
  return {
    ...ms(timeline),
    coverage: timeline.coverage.map(ms).sort(byStart),
    gaps: timeline.gaps.map(gapMs).sort(byStart),
    holds: timeline.holds.map(ms).sort(byStart),
  }
}

/** The first time at or after `atMs` with footage: from `known` where it says, else from the server. */
export async function locate(
  camera: string,
  stream: StreamName,
  atMs: number,
  known: Footage | null,
): Promise<number | null> {
  if (known && atMs >= known.startMs && atMs < known.endMs) {
    const found = nextCovered(known.coverage, atMs)
    if (found !== null) return found
  }
  const endMs = Math.min(Date.now(), atMs + AHEAD_MS)
  if (endMs <= atMs) return null
  return nextCovered(toFootage(await api.timeline(camera, stream, atMs, endMs)).coverage, atMs)
}

export interface DayFootage {
  footage: Footage | null
  error: unknown
}

/** Footage of one stream and day, asked again while the day goes on. `enabled` false asks nothing. */
export function useDayFootage(camera: string, stream: StreamName, day: View, enabled: boolean): DayFootage {
  const [state, setState] = useState<DayFootage & { of: string }>({ footage: null, error: null, of: '' })
  const asked = `${stream} ${day.startMs}`
  useEffect(() => {
    if (!enabled) return undefined
    const stop = new AbortController()
    const set = (footage: Footage | null, error: unknown) =>
      setState((before) => ({
        footage: footage ?? (before.of === asked ? before.footage : null),
        error,
        of: asked,
      }))
    void keepAsking(camera, stream, day, set, stop.signal)
    return () => stop.abort()
  }, [camera, asked, enabled])
  return state.of === asked ? state : { footage: null, error: null }
}

async function keepAsking(
  camera: string,
  stream: StreamName,
  day: View,
  set: (footage: Footage | null, error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const failed = await askOnce(camera, stream, day, set, signal)
    if (!failed && Date.now() > day.endMs + REFRESH_MS) return
    await sleep(failed ? RETRY_MS : REFRESH_MS, signal).catch(() => undefined)
  }
}

async function askOnce(
  camera: string,
  stream: StreamName,
  day: View,
  set: (footage: Footage | null, error: unknown) => void,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const endMs = Math.max(day.startMs + 1000, Math.min(day.endMs, Date.now()))
    const timeline = await api.timeline(camera, stream, day.startMs, endMs, signal)
    if (!signal.aborted) set(toFootage(timeline), null)
    return false
  } catch (error) {
    if (!signal.aborted) set(null, error)
    return true
  }
}
