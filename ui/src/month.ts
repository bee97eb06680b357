/** How much of each of the last days was recorded: asked for coarsely, since a month is more than can be drawn. */
import { useEffect, useState } from 'preact/hooks'
import { api } from './api'
import { toFootage } from './footage'
import { type View, addDays, coveredMs, dayOf } from './timeline'
import type { StreamName, Timeline } from './types'

const DAYS = 31
const RESOLUTION_S = 3600
const AGAIN_MS = 5 * 60_000

export interface DayShare extends View {
  /** Of the day so far, 0 to 1. */
  share: number
  gaps: number
}

/** Of each local day from the one that holds the timeline's start to the one that holds its end. */
export function dayShares(timeline: Timeline): DayShare[] {
  const footage = toFootage(timeline)
  const gaps = timeline.gaps.map((gap) => {
    const startMs = Date.parse(gap.start)
    return { startMs, count: gap.count ?? 1, shortMs: 1000 * (gap.missing_s ?? 0) }
  })
  const shares: DayShare[] = []
  for (let day = dayOf(footage.startMs); day.startMs < footage.endMs; day = addDays(day.startMs, 1)) {
    const own = gaps.filter(({ startMs }) => startMs >= day.startMs && startMs < day.endMs)
    const lengthMs = Math.min(day.endMs, footage.endMs) - day.startMs
    // holes that are finer than was asked for are told by the gaps alone
    const shortMs = own.reduce((sum, gap) => sum + gap.shortMs, 0)
    const share = Math.max(0, coveredMs(footage.coverage, day) - shortMs) / Math.max(1, lengthMs)
    shares.push({ ...day, share: Math.min(1, share), gaps: own.reduce((sum, gap) => sum + gap.count, 0) })
  }
  return shares
}

/** Null until it is known, and where it cannot be. */
export function useMonth(camera: string, stream: StreamName, enabled: boolean): DayShare[] | null {
  const [month, setMonth] = useState<{ of: string; shares: DayShare[] } | null>(null)
  const of = `${camera} ${stream}`
  useEffect(() => {
    if (!enabled) return undefined
    const stop = new AbortController()
    const ask = () => {
      const startMs = addDays(dayOf(Date.now()).startMs, 1 - DAYS).startMs
      api.timeline(camera, stream, startMs, Date.now(), stop.signal, RESOLUTION_S).then(
        (timeline) => stop.signal.aborted || setMonth({ of, shares: dayShares(timeline) }),
        () => undefined, // the day itself says what is wrong
      )
    }
    ask()
    const timer = setInterval(ask, AGAIN_MS)
    return () => {
      stop.abort()
      clearInterval(timer)
    }
  }, [of, enabled])
  return month?.of === of ? month.shares : null
}
