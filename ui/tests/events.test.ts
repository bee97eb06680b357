import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EventFeed, type Occurrence, occurrenceNear, spanOf, toOccurrences } from '../src/events'
import { recentView } from '../src/timeline'
import type { CameraEvent, EventKind } from '../src/types'

const NOON = Date.UTC(2026, 4, 17, 12)
const DAY = { startMs: NOON - 12 * 3600_000, endMs: NOON + 12 * 3600_000 }
const LATER = NOON + 3600_000

function event(id: number, second: number, active: boolean, kind: EventKind = 'motion', source = 'rule'): CameraEvent {
  const at = new Date(NOON + second * 1000).toISOString()
  return { id, at, kind, active, source, camera_at: null }
}

const seconds = (list: Occurrence[]) =>
  list.map(({ beganMs, endedMs }) => [beganMs, endedMs].map((ms) => (ms === null ? null : (ms - NOON) / 1000)))

test('a beginning and its end are one occurrence, by kind and source', () => {
  const list = toOccurrences([
    event(1, 0, true),
    event(2, 1, true, 'motion', 'another rule'),
    event(3, 2, true, 'tamper'),
    event(4, 3, false),
    event(5, 4, false, 'tamper'),
    event(6, 5, true),
  ])
  assert.deepEqual(
    list.map(({ kind, source }) => `${kind} ${source}`),
    ['motion rule', 'motion another rule', 'tamper rule', 'motion rule'],
  )
  assert.deepEqual(seconds(list), [[0, 3], [1, null], [2, 4], [5, null]])
})

test('what had begun before has no beginning, what is told twice changes nothing', () => {
  const list = toOccurrences([event(1, 7, false), event(2, 8, false), event(3, 9, true), event(4, 10, true), event(5, 11, false)])
  assert.deepEqual(seconds(list), [[null, 7], [9, 11]])
})

test('events that were kept out of turn are put in turn', () => {
  assert.deepEqual(seconds(toOccurrences([event(1, 5, false), event(2, 3, true)])), [[3, 5]])
})

test('what has no beginning or no end reaches to the edge of the day, or to now', () => {
  const [before, open] = toOccurrences([event(1, 0, false), event(2, 60, true, 'storage')]) as [Occurrence, Occurrence]
  assert.deepEqual(spanOf(before, DAY, LATER), { startMs: DAY.startMs, endMs: NOON })
  assert.deepEqual(spanOf(open, DAY, LATER), { startMs: NOON + 60_000, endMs: LATER })
  assert.equal(spanOf(open, DAY, DAY.endMs + LATER).endMs, DAY.endMs)
  assert.deepEqual(spanOf(open, DAY, NOON), { startMs: NOON + 60_000, endMs: NOON + 60_000 }, 'a clock that is behind')
})

test('a click finds what it lies on, or the nearest thing within reach', () => {
  const list = toOccurrences([event(1, 0, true), event(2, 10, false), event(3, 20, true), event(4, 30, false)])
  const at = (second: number) => occurrenceNear(list, NOON + second * 1000, 4000, DAY, LATER)?.key
  assert.deepEqual([at(5), at(13), at(17), at(15), at(33), at(-5)], ['1', '1', '3', undefined, '3', undefined])
})

const page = (events: CameraEvent[], more = false) => ({ events, more })
const { signal } = new AbortController()

test('a feed reads all pages, then only what is new, always from the last one on', async () => {
  const asked: number[] = []
  const pages = [page([event(1, 0, true), event(2, 1, false)], true), page([event(5, 2, true)]), page([]), page([event(9, 3, false)])]
  const feed = new EventFeed(async (after) => (asked.push(after), pages.shift()!), Date.now() + 3600_000)
  const first = await feed.read(signal)
  assert.deepEqual(first.map(({ id }) => id), [1, 2, 5])
  assert.equal(await feed.read(signal), first, 'nothing new is the same array')
  assert.deepEqual((await feed.read(signal)).map(({ id }) => id), [1, 2, 5, 9])
  assert.deepEqual(asked, [0, 2, 5, 5])
})

test('a day that is over is read once, one that fails again', async () => {
  let asked = 0
  const feed = new EventFeed(async () => {
    asked += 1
    if (asked === 1) throw new Error('away')
    return page([event(1, 0, true)], asked === 2)
  }, NOON)
  await assert.rejects(feed.read(signal), /away/)
  await feed.read(signal)
  await feed.read(signal)
  assert.equal(asked, 3)
})

test('a camera that tells without end is read some pages a round', async () => {
  let asked = 0
  const feed = new EventFeed(async () => page([event(++asked, asked, true)], true), Date.now())
  await feed.read(signal)
  assert.ok(asked > 1 && asked <= 20, String(asked))
})

test('without footage a day that goes on opens on its last hours', () => {
  const view = recentView(DAY, NOON)
  assert.ok(view.startMs > NOON - 2 * 3600_000 && view.endMs > NOON)
  assert.equal(recentView(DAY, DAY.endMs + 1), DAY)
  assert.equal(recentView(DAY, DAY.startMs + 1000).startMs, DAY.startMs)
})
