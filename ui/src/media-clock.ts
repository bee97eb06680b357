/** Media time of an HLS playlist <-> wall time of its pictures, by EXT-X-PROGRAM-DATE-TIME. Pure. */

export interface TimedFragment {
  /** Seconds on the video element's time line. */
  start: number
  duration: number
  programDateTime: number | null
}

/** Wall time, ms since 1970, of the picture at `mediaTime`; null where no fragment says. */
export function wallAt(fragments: readonly TimedFragment[], mediaTime: number): number | null {
  let best: TimedFragment | null = null
  for (const fragment of fragments) {
    if (fragment.programDateTime === null) continue
    if (best !== null && fragment.start > mediaTime) break
    best = fragment
  }
  if (best === null || best.programDateTime === null) return null
  const inside = Math.min(Math.max(mediaTime - best.start, 0), best.duration)
  return best.programDateTime + inside * 1000
}

/** Media time of the first picture at or after `wallMs`; in a gap that is where footage begins again, after all null. */
export function mediaAt(fragments: readonly TimedFragment[], wallMs: number): number | null {
  for (const fragment of fragments) {
    if (fragment.programDateTime === null) continue
    const into = (wallMs - fragment.programDateTime) / 1000
    if (into < fragment.duration) return fragment.start + Math.max(0, into)
  }
  return null
}
