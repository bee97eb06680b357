import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mediaAt, wallAt } from '../src/media-clock'

/** Two fragments, a gap of a minute, a third. */
const fragments = [
  { start: 0, duration: 2, programDateTime: 1_000_000 },
  { start: 2, duration: 2, programDateTime: 1_002_000 },
  { start: 4, duration: 2, programDateTime: 1_064_000 },
]

test('the picture shown has the wall time of its fragment', () => {
  assert.equal(wallAt(fragments, 0.5), 1_000_500)
  assert.equal(wallAt(fragments, 3), 1_003_000)
})

test('wall time jumps over a gap, media time does not', () => {
  assert.equal(wallAt(fragments, 4), 1_064_000)
})

test('past the end it is the end, and nothing is known of nothing', () => {
  assert.equal(wallAt(fragments, 99), 1_066_000)
  assert.equal(wallAt([], 1), null)
})

test('a time is found in its fragment', () => {
  assert.equal(mediaAt(fragments, 1_003_000), 3)
})

test('a time in a gap is where footage begins again; before all is the beginning, after all is nowhere', () => {
  assert.equal(mediaAt(fragments, 1_030_000), 4)
  assert.equal(mediaAt(fragments, 1), 0)
  assert.equal(mediaAt(fragments, 1_066_000), null)
})

test('fragments without a date are passed over', () => {
  assert.equal(wallAt([{ start: 0, duration: 2, programDateTime: null }], 1), null)
  assert.equal(mediaAt([{ start: 0, duration: 2, programDateTime: null }, ...fragments], 1_000_500), 0.5)
})
