import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StepClock, type SyncedPlayer, mayRun } from '../src/synced'

function at(t: { mock: { method: (object: object, name: 'now', how: () => number) => unknown } }): (ms: number) => void {
  let nowMs = 0
  t.mock.method(performance, 'now', () => nowMs)
  return (ms) => void (nowMs = ms)
}

test('the clock stands until it runs, and goes on from where it stood', (t) => {
  const go = at(t)
  const clock = new StepClock(1000)
  go(500)
  assert.equal(clock.now(), 1000)
  clock.run(true)
  go(700)
  assert.equal(clock.now(), 1200)
  clock.run(false)
  go(5000)
  assert.equal(clock.now(), 1200)
})

test('another speed changes nothing about where it is', (t) => {
  const go = at(t)
  const clock = new StepClock(0)
  clock.run(true)
  go(100)
  clock.setRate(16)
  assert.equal(clock.now(), 100)
  go(200)
  assert.equal(clock.now(), 1700)
  clock.set(50)
  go(201)
  assert.equal(clock.now(), 66)
})

test('the clock waits for those who load, but not for ever', () => {
  const players = (...ready: boolean[]) => ready.map((one) => ({ ready: one }) as SyncedPlayer)
  assert.equal(mayRun(players(true, true), 0), true)
  assert.equal(mayRun(players(true, false), 0), false)
  assert.equal(mayRun(players(true, false), 6000), true)
})
