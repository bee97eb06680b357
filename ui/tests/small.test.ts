import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Alarm, backoffMs, sleep } from '../src/backoff'
import { toFootage } from '../src/footage'
import { codecTitle, formatBitrate, formatBytes, formatDuration, formatPercent, formatTime } from '../src/format'
import { fitGrid } from '../src/grid'
import { JoinGate } from '../src/join-gate'
import { parseRoute } from '../src/router'

test('back-off doubles up to its bound, and half of it is chance', () => {
  const options = { firstMs: 100, mostMs: 1000 }
  assert.equal(backoffMs(1, options, () => 0), 50)
  assert.equal(backoffMs(1, options, () => 1), 100)
  assert.equal(backoffMs(3, options, () => 1), 400)
  assert.equal(backoffMs(30, options, () => 1), 1000)
})

test('a wait ends at once when it is aborted', async () => {
  const stop = new AbortController()
  const waiting = sleep(60_000, stop.signal)
  stop.abort(new Error('stopped'))
  await assert.rejects(waiting, /stopped/)
})

test('an alarm ends the sleep under way and no later one', async () => {
  const { signal } = new AbortController()
  const alarm = new Alarm()
  let awake = false
  const sleeping = alarm.sleep(60_000, signal)
  alarm.ring()
  await sleeping
  const stop = new AbortController()
  const later = alarm.sleep(60_000, stop.signal).then(() => (awake = true))
  await Promise.resolve()
  assert.equal(awake, false)
  stop.abort()
  await later
})

test('the gate lets so many in and the next when one leaves, in order', async () => {
  const gate = new JoinGate(1)
  const { signal } = new AbortController()
  const order: string[] = []
  const leave = await gate.enter(signal)
  const second = gate.enter(signal).then((out) => (order.push('second'), out))
  const third = gate.enter(signal).then((out) => (order.push('third'), out))
  assert.deepEqual(order, [])
  leave()
  leave() // a second time lets nobody more in
  const leaveSecond = await second
  assert.deepEqual(order, ['second'])
  leaveSecond()
  await third
  assert.deepEqual(order, ['second', 'third'])
})

test('who gives up waiting at the gate keeps no place', async () => {
  const gate = new JoinGate(1)
  const leave = await gate.enter(new AbortController().signal)
  const stop = new AbortController()
  const given = gate.enter(stop.signal)
  stop.abort(new Error('gone'))
  await assert.rejects(given, /gone/)
  leave()
  await gate.enter(new AbortController().signal)
})

test('tiles fill the window', () => {
  assert.equal(fitGrid(1, 1600, 900, 8, 260).columns, 1)
  assert.equal(fitGrid(4, 1600, 900, 8, 260).columns, 2)
  assert.equal(fitGrid(9, 1600, 900, 8, 260).columns, 3)
  assert.deepEqual(fitGrid(4, 390, 700, 8, 260), { columns: 1, tilePx: 390 }, 'a phone shows one a row, as wide as it is')
  assert.equal(fitGrid(3, 2500, 500, 8, 260).columns, 3, 'a wide wall uses its width')
})

test('all rows fit into the height where tiles stay large enough', () => {
  for (let count = 1; count <= 20; count += 1) {
    const { columns, tilePx } = fitGrid(count, 1424, 780, 8, 260)
    const rows = Math.ceil(count / columns)
    assert.ok((rows * tilePx * 9) / 16 + (rows - 1) * 8 <= 780, `${count} tiles`)
    assert.ok(columns * tilePx + (columns - 1) * 8 <= 1424, `${count} tiles`)
  }
})

test('many tiles stay large enough to read and scroll instead', () => {
  const { columns, tilePx } = fitGrid(400, 1600, 900, 8, 260)
  assert.ok(tilePx >= 260 && columns * (tilePx + 8) - 8 <= 1600)
})

test('routes', () => {
  assert.deepEqual(parseRoute('/', ''), { page: 'wall' })
  assert.deepEqual(parseRoute('/', '#/camera/gate%201'), { page: 'camera', id: 'gate 1', atMs: null })
  assert.deepEqual(parseRoute('/', '#/camera/g?at=2026-05-17T01:00:00.000Z'), {
    page: 'camera',
    id: 'g',
    atMs: Date.UTC(2026, 4, 17, 1),
  })
  assert.deepEqual(parseRoute('/', '#/camera/g?at=nonsense'), { page: 'camera', id: 'g', atMs: null })
  assert.deepEqual(parseRoute('/', '#/camera/%E0%A4%A'), { page: 'camera', id: '%E0%A4%A', atMs: null })
  assert.deepEqual(parseRoute('/invite/abc', ''), { page: 'invite', token: 'abc' })
  assert.deepEqual(parseRoute('/', '#/nowhere'), { page: 'unknown' })
})

test('sizes, rates and lengths of time read well', () => {
  assert.equal(formatBytes(0, 'en-GB'), '0 B')
  assert.equal(formatBytes(20 * 1024 ** 3, 'en-GB'), '21.5 GB')
  assert.equal(formatBitrate(2_050_000, 'en-GB'), '2.1 Mbit/s')
  assert.equal(formatDuration(0.42, 'en-GB'), '0.4 s')
  assert.equal(formatDuration(3725, 'en-GB'), '1 h 2 min')
  assert.equal(formatDuration(86_400, 'vi-VN'), '1 ngày')
})

test('a codec has the name that people know', () => {
  assert.equal(codecTitle('h264'), 'H.264')
  assert.equal(codecTitle('PCMU'), 'G.711 µ-law')
  assert.equal(codecTitle('av1'), 'av1')
})

test('midnight is 00, not 24', () => {
  const midnight = new Date(2026, 4, 17).getTime()
  assert.equal(formatTime(midnight, 'en-GB'), '00:00:00')
  assert.equal(formatTime(midnight, 'vi-VN', false), '00:00')
})

test('a day with a gap is never rounded up to all of it', () => {
  assert.equal(formatPercent(0.99999, 'en-GB'), '99.9%')
  assert.equal(formatPercent(1, 'en-GB'), '100%')
})

test('a timeline is sorted and its times are numbers', () => {
  const footage = toFootage({
    start: '2026-05-17T00:00:00Z',
    end: '2026-05-18T00:00:00Z',
    coverage: [
      { start: '2026-05-17T02:00:00Z', end: '2026-05-17T03:00:00Z' },
      { start: '2026-05-17T00:30:00.5Z', end: '2026-05-17T01:00:00Z' },
    ],
    gaps: [{ start: '2026-05-17T01:00:00Z', end: '2026-05-17T02:00:00Z', cause: 'camera_lost', sentence: 'Lost.' }],
    holds: [],
  })
  assert.equal(footage.coverage[0]?.startMs, Date.UTC(2026, 4, 17, 0, 30, 0, 500))
  assert.equal(footage.gaps[0]?.cause, 'camera_lost')
})
