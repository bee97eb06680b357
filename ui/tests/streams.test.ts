import assert from 'node:assert/strict'
import { test } from 'node:test'
import { footageStream, hasSub, leadingStream, recordedStreams, tileStream } from '../src/streams'
import type { Camera, MediaProfile, Stream } from '../src/types'

const LOST = { code: 'camera_lost', sentence: 'Lost.' }

function stream(changes: Partial<Stream>): Stream {
  return { state: 'live', reason: null, since: null, video: null, audio: null, transport: null, viewers: 0, recording: null, ...changes }
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
    recording: { mode: 'continuous' },
    record_audio: 'policy',
    audio_recorded: true,
    attestation: null,
    transport: null,
    tls_fingerprint: null,
    record_stream: 'main',
    grid_stream: 'sub',
    permissions: [],
    streams,
    profile: { ...profile, sub: subPicked ? pick : null },
    device: null,
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

test('a tile takes the main stream where that was chosen, and the other one while it fails', () => {
  const choose = (streams: Camera['streams']) => ({ ...camera(streams), grid_stream: 'main' as const })
  assert.equal(tileStream(choose({ main: stream({ state: 'idle' }), sub: stream({}) })), 'main')
  assert.equal(tileStream(choose({ main: stream({ state: 'retrying', reason: LOST }), sub: stream({}) })), 'sub')
  assert.equal(tileStream(choose({ main: stream({ state: 'retrying', reason: LOST }), sub: stream({ state: 'idle' }) })), 'main')
})

test('footage is that of the recorded stream, which the camera is judged by', () => {
  const main = stream({ state: 'idle' })
  const sub = stream({ state: 'retrying' })
  for (const [record_stream, name, judged, recorded] of [
    ['main', 'main', main, [main]],
    ['sub', 'sub', sub, [sub]],
    ['both', 'main', main, [main, sub]],
  ] as const) {
    const one = { ...camera({ main, sub }), record_stream }
    assert.equal(footageStream(one), name)
    assert.equal(leadingStream(one), judged)
    assert.deepEqual(recordedStreams(one), recorded)
  }
})

test('a camera that is switched off still has its sub stream', () => {
  const off = stream({ state: 'off' })
  assert.equal(hasSub(camera({ main: off, sub: off })), true)
  assert.equal(hasSub(camera({ main: off, sub: off }, false)), false)
  assert.equal(hasSub({ ...camera({ main: off, sub: off }), profile: null }), false)
  assert.equal(hasSub({ ...camera({ main: off, sub: stream({}) }), profile: null }), true)
})
