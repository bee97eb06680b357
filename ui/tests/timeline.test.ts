import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addDays,
  causeKind,
  clamp,
  coveredMs,
  dayOf,
  follow,
  initialView,
  merge,
  nextCovered,
  pan,
  spanAt,
  ticks,
  toMs,
  toX,
  zoom,
} from '../src/timeline'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const day = dayOf(new Date(2026, 4, 17, 13, 20).getTime())
const at = (hour: number, minute = 0) => day.startMs + hour * HOUR + minute * MINUTE

test('a day runs from local midnight to the next', () => {
  assert.equal(new Date(day.startMs).getHours(), 0)
  assert.equal(new Date(day.endMs).getDate(), 18)
  assert.deepEqual(addDays(day.startMs, -1).endMs, day.startMs)
  assert.deepEqual(addDays(day.startMs, 1).startMs, day.endMs)
})

test('position and time are inverse to each other', () => {
  assert.equal(toMs(day, 1200, toX(day, 1200, at(7, 31))), at(7, 31))
})

test('zooming keeps the time under the pointer where it is', () => {
  const closer = zoom(day, 0.25, at(9), day)
  assert.equal(closer.endMs - closer.startMs, 6 * HOUR)
  assert.ok(Math.abs(toX(closer, 1000, at(9)) - toX(day, 1000, at(9))) < 1e-6)
})

test('zooming stops at a minute and at the whole day', () => {
  const closest = zoom(day, 1e-9, at(9), day)
  assert.equal(closest.endMs - closest.startMs, MINUTE)
  assert.deepEqual(zoom(closest, 1e9, at(9), day), day)
})

test('panning stops at the bounds without changing the length', () => {
  const view = { startMs: at(1), endMs: at(3) }
  assert.deepEqual(pan(view, -5 * HOUR, day), { startMs: at(0), endMs: at(2) })
  assert.deepEqual(pan(view, 50 * HOUR, day), { startMs: at(22), endMs: at(24) })
  assert.deepEqual(clamp({ startMs: at(-9), endMs: at(90) }, day), day)
})

test('a playhead inside the view moves nothing, one that runs out takes the view along', () => {
  const view = { startMs: at(1), endMs: at(2) }
  assert.equal(follow(view, at(1, 30), day), view)
  const followed = follow(view, at(2), day)
  assert.ok(followed.startMs < at(2) && followed.endMs > at(2, 50))
})

test('labels are at least as far apart as asked, at every zoom, on round times', () => {
  for (let length = MINUTE; length <= 24 * HOUR; length = Math.ceil(length * 1.7)) {
    const view = { startMs: at(0) + 12_345, endMs: at(0) + 12_345 + Math.min(length, 24 * HOUR - 12_345) }
    const majors = ticks(view, 1000, 70).filter((tick) => tick.major)
    assert.ok(majors.length >= 1, `no label at ${length} ms`)
    for (let i = 1; i < majors.length; i += 1) {
      const apart = toX(view, 1000, majors[i]!.atMs) - toX(view, 1000, majors[i - 1]!.atMs)
      assert.ok(apart >= 70, `labels ${apart} px apart at ${length} ms`)
    }
  }
})

test('ticks never become so many that drawing them is slow', () => {
  for (let length = MINUTE; length <= 24 * HOUR; length *= 1.3) {
    assert.ok(ticks({ startMs: at(0), endMs: at(0) + length }, 2000).length < 400)
  }
})

const coverage = [
  { startMs: at(1), endMs: at(2) },
  { startMs: at(3), endMs: at(4) },
]

test('the next footage is here, at the next start, or nowhere', () => {
  assert.equal(nextCovered(coverage, at(1, 30)), at(1, 30))
  assert.equal(nextCovered(coverage, at(2)), at(3))
  assert.equal(nextCovered(coverage, at(4)), null)
})

test('a span holds its start and not its end', () => {
  assert.equal(spanAt(coverage, at(1)), coverage[0])
  assert.equal(spanAt(coverage, at(2)), null)
})

test('covered time counts only what lies in the view', () => {
  assert.equal(coveredMs(coverage, { startMs: at(1, 30), endMs: at(3, 15) }), 45 * MINUTE)
})

test('neighbours closer than a pixel are drawn as one', () => {
  assert.deepEqual(merge(coverage, HOUR), [{ startMs: at(1), endMs: at(4) }])
  assert.equal(merge(coverage, HOUR - 1).length, 2)
  assert.equal(coverage[0]!.endMs, at(2), 'the input is left as it was')
})

test('a day with little footage opens on that footage, a full day as a whole', () => {
  const little = [{ startMs: at(9), endMs: at(9, 20) }]
  const view = initialView(day, little, at(9, 20))
  assert.ok(view.startMs <= at(9) && view.endMs >= at(9, 20) && view.endMs - view.startMs <= HOUR)
  assert.equal(initialView(day, [{ startMs: at(1), endMs: at(9) }], at(9)), day)
  assert.equal(initialView(day, [], at(9)), day)
})

test('a cause is told apart by who it is down to', () => {
  assert.equal(causeKind('camera_lost'), 'camera')
  assert.equal(causeKind('server_down'), 'server')
  assert.equal(causeKind('retention'), 'decision')
  assert.equal(causeKind('waiting_keyframe'), 'starting')
  assert.equal(causeKind('a cause of tomorrow'), 'camera')
})
