import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tileStream } from '../src/tile-stream'
import type { Camera, MediaProfile, Stream } from '../src/types'

const LOST = { code: 'camera_lost', sentence: 'Lost.' }

function stream(changes: Partial<Stream>): Stream {
  return { state: 'live', reason: null, since: null, video: null, audio: null, viewers: 0, recording: null, ...changes }
}

function camera(streams: Camera['streams'], subPicked = true): Camera {
  const pick = {} as MediaProfile
  const profile = { manufacturer: '', model: '', firmware: '', clock_offset_s: null, main: pick, explanation: '', clock_uncertainty_s: 0, warnings: [] }
  return {
    id: 'c',
    name: 'C',
    kind: 'onvif',
    address: '',
    place: '',
    origin: 'api',
    enabled: true,
    record: true,
    permissions: [],
    streams,
    profile: { ...profile, sub: subPicked ? pick : null },
    device: null,
    retention: null,
  }
}

test('a tile takes the sub stream, pulled or on demand', () => {
  for (const state of ['live', 'idle', 'connecting'] as const) {
    assert.equal(tileStream(camera({ main: stream({}), sub: stream({ state }) })), 'sub')
  }
})

test('without a sub stream it takes the main one', () => {
  assert.equal(tileStream(camera({ main: stream({}) })), 'main')
  assert.equal(tileStream(camera({ main: stream({}), sub: stream({ state: 'off' }) })), 'main')
  assert.equal(tileStream(camera({ main: stream({}), sub: stream({ state: 'idle' }) }, false)), 'main')
})

test('a sub stream that fails gives way to a main one that is live', () => {
  assert.equal(tileStream(camera({ main: stream({}), sub: stream({ state: 'retrying', reason: LOST }) })), 'main')
  assert.equal(tileStream(camera({ main: stream({}), sub: stream({ state: 'idle', reason: LOST }) })), 'main')
})

test('where both fail it stays with the sub stream', () => {
  const lost = stream({ state: 'retrying', reason: LOST })
  assert.equal(tileStream(camera({ main: lost, sub: lost })), 'sub')
})
