import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dayShares } from '../src/month'
import { dayOf } from '../src/timeline'

const iso = (ms: number) => new Date(ms).toISOString()

test('a day is told by what was recorded of it, short gaps that are merged away left out', () => {
  const { startMs, endMs } = dayOf(Date.parse('2026-03-03T12:00:00Z'))
  const hour = 3_600_000
  const gap = { cause: 'camera_lost', sentence: '' }
  const shares = dayShares({
    start: iso(startMs),
    end: iso(endMs + 6 * hour),
    coverage: [{ start: iso(startMs), end: iso(endMs) }],
    gaps: [
      { ...gap, start: iso(startMs + hour), end: iso(startMs + 2 * hour), count: 12, missing_s: 8640 },
      { ...gap, start: iso(endMs), end: iso(endMs + 6 * hour) },
    ],
    holds: [],
  })
  assert.deepEqual(
    shares.map(({ share, gaps }) => [Number(share.toFixed(6)), gaps]),
    [
      [0.9, 12],
      [0, 1],
    ],
  )
})
