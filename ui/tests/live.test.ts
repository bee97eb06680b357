import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../src/api'
import { applyStates } from '../src/camera-states'
import { HlsUnsupported, hlsCanBring, troubleOf } from '../src/live-source'
import { Poller } from '../src/poller'
import { shownStream, streamOfSize, usualStream } from '../src/streams'
import type { Camera } from '../src/types'
import { pageOf, parseLayout } from '../src/wall-layout'
import { loginFor, nextAfterLogin, parseWatch, wantsSound, watchUrl } from '../src/watch-options'
import { parseIceServers, restartedAnswer, restartFragment } from '../src/whep-sdp'

const camera = (id: string, more: object = {}) => ({ id, name: id, ...more }) as Camera

test('states of cameras are merged member by member, and what is new or gone comes and goes', () => {
  const first = applyStates([], { event: 'cameras', data: JSON.stringify({ cameras: [camera('a', { enabled: true }), camera('b')] }) })
  const renamed = applyStates(first, { event: 'camera', data: '{"id":"a","name":"A"}' })
  assert.deepEqual(renamed, [{ id: 'a', name: 'A', enabled: true }, camera('b')])
  assert.notEqual(renamed, first)
  assert.equal(renamed[1], first[1])
  const added = applyStates(renamed, { event: 'camera', data: JSON.stringify(camera('c')) })
  assert.deepEqual(added.map(({ id }) => id), ['a', 'b', 'c'])
  const gone = applyStates(added, { event: 'gone', data: '{"id":"b"}' })
  assert.deepEqual(gone.map(({ id }) => id), ['a', 'c'])
  assert.equal(applyStates(gone, { event: 'told', data: '{"cameras":{"a":1}}' }), gone)
})

test('a poller that is told asks no more, asks again when it is told no more, and loses no wish', async () => {
  let asked = 0
  let tell = { value: (_: number) => {}, isUp: (_: boolean) => {} }
  const poller = new Poller<number>(async () => (asked += 1), 1, (to) => {
    tell = to
    return () => {}
  })
  const seen: (number | null)[] = []
  const stop = poller.subscribe(({ value }) => seen.push(value))
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.ok(asked > 2, 'it asks each millisecond')
  tell.isUp(true)
  await new Promise((resolve) => setTimeout(resolve, 10))
  const before = asked
  await new Promise((resolve) => setTimeout(resolve, 40))
  assert.equal(asked, before)
  tell.value(1000)
  assert.equal(poller.state.value, 1000)
  poller.refresh()
  await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(asked, before + 1)
  tell.isUp(false)
  await new Promise((resolve) => setTimeout(resolve, 40))
  assert.ok(asked > before + 3)
  stop()
})

test('a wish that comes while an answer is under way is asked for behind it', async () => {
  let asked = 0
  let answer = () => {}
  const poller = new Poller<number>(
    () => new Promise((resolve) => {
      asked += 1
      answer = () => resolve(asked)
    }),
    60_000,
  )
  const stop = poller.subscribe(() => undefined)
  poller.refresh()
  answer()
  await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal(asked, 2)
  answer()
  await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal(asked, 2)
  stop()
})

test('STUN and TURN servers are read from Link headers, other links are not', () => {
  const link =
    '<stun:stun.example.net>; rel="ice-server", ' +
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user, \\"x\\""; credential="my;Pass"; credential-type="password", ' +
    '</next>; rel="next", <https://x.example/>; rel="ice-server"'
  assert.deepEqual(parseIceServers(link), [
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: 'user, "x"', credential: 'my;Pass' },
  ])
  assert.deepEqual(parseIceServers(null), [])
})

const SDP = ['v=0', 'a=ice-lite', 'm=video 9 X 96', 'a=mid:0', 'a=ice-ufrag:old', 'a=ice-pwd:oldpwd', 'a=candidate:1 1 udp 1 192.0.2.1 8189 typ host', 'm=audio 9 X 8', 'a=mid:1', 'a=ice-ufrag:old', 'a=ice-pwd:oldpwd', ''].join('\r\n')

test('a restart sends the new fragment and password, and takes those of the server', () => {
  assert.equal(restartFragment(SDP), 'a=ice-ufrag:old\r\na=ice-pwd:oldpwd\r\n')
  const kept = restartedAnswer(SDP, 'a=ice-lite\r\na=ice-ufrag:new\r\na=ice-pwd:newpwd\r\n')
  assert.equal(kept.match(/a=ice-ufrag:new/g)?.length, 2)
  assert.equal(kept.match(/a=ice-pwd:newpwd/g)?.length, 2)
  assert.ok(kept.includes('192.0.2.1'))
  const moved = restartedAnswer(SDP, 'a=ice-ufrag:n\r\na=ice-pwd:p\r\na=candidate:1 1 udp 1 198.51.100.7 8189 typ host\r\n')
  assert.ok(moved.includes('198.51.100.7') && !moved.includes('192.0.2.1'))
})

test('the address of the player is read with mercy', () => {
  const usual = { camera: 'cam-1', stream: 'auto', muted: true, controls: false, language: null }
  assert.deepEqual(parseWatch('/watch/cam-1', ''), usual)
  assert.deepEqual(parseWatch('/watch/cam-1/', '?stream=sub&muted=0&controls=1&lang=en'), {
    ...usual, stream: 'sub', muted: false, controls: true, language: 'en',
  })
  assert.deepEqual(parseWatch('/watch/cam-1', '?stream=best&muted=&lang=fr'), usual)
  assert.equal(parseWatch('/watch/a/b', '').camera, null)
})

test('sound is wanted where it can be heard', () => {
  for (const [search, heard] of [['', false], ['?muted=0', true], ['?controls=1', true], ['?muted=0&controls=1', true]] as const)
    assert.equal(wantsSound(parseWatch('/watch/cam-1', search)), heard, search)
})

test('the link to the player alone is one that the player understands', () => {
  const url = new URL(watchUrl('https://media.example:8443', 'cam-1'))
  assert.equal(url.host, 'media.example:8443')
  assert.equal(parseWatch(url.pathname, url.search).camera, 'cam-1')
})

test('a login leads back to the player, and nowhere else', () => {
  const url = loginFor('/watch/cam-1', '?stream=sub&controls=1')
  assert.equal(nextAfterLogin(url.slice(1)), '/watch/cam-1?stream=sub&controls=1')
  for (const next of ['//evil.example/', 'https://evil.example', '/watch/a/../b', '/watch/a#x', '/', '', 'javascript:alert(1)']) {
    assert.equal(nextAfterLogin(`?next=${encodeURIComponent(next)}`), null, next)
  }
})

test('a page of the wall, clamped to what there is', () => {
  const list = Array.from({ length: 40 }, (_, index) => index)
  assert.deepEqual(pageOf(list, 36, 5), { shown: [36, 37, 38, 39], page: 1, pages: 2 })
  assert.equal(pageOf(list, 'auto', 0).shown.length, 36)
  assert.deepEqual(pageOf([], 4, 0), { shown: [], page: 0, pages: 1 })
  assert.equal(parseLayout('16'), 16)
  assert.equal(parseLayout('17'), 'auto')
})

test('HLS is for what WebRTC cannot bring, where the browser plays it', () => {
  const refused = new ApiError(406, 'webrtc_codec_unsupported', '')
  const unreachable = new ApiError(0, 'webrtc_unreachable', '')
  const plays = (type: string) => ({ MediaSource: { isTypeSupported: (asked: string) => asked.includes(type) } })
  const isHevcLost = (error: unknown) => troubleOf({ kind: 'retrying', error })?.text === 'player.hevcLost'
  Object.assign(globalThis, plays('hvc1'))
  assert.deepEqual([hlsCanBring(refused), isHevcLost(refused), hlsCanBring(unreachable)], [true, false, true])
  assert.equal(hlsCanBring(new ApiError(403, 'not_permitted', '')), false)
  Object.assign(globalThis, plays('avc1'))
  assert.deepEqual([hlsCanBring(refused), isHevcLost(refused), hlsCanBring(unreachable)], [false, true, true])
  // another time the server may convert it
  const full = new ApiError(429, 'transcoders_full', '')
  assert.deepEqual([hlsCanBring(full), isHevcLost(full)], [false, false])
  Reflect.deleteProperty(globalThis, 'MediaSource')
  assert.equal(hlsCanBring(unreachable), false)
})

test('a player that shows no live picture says why, with the error where that says more', () => {
  const error = new ApiError(503, 'camera_unreachable', '')
  assert.deepEqual(troubleOf({ kind: 'retrying', error }), { text: 'player.reconnecting', error })
  assert.deepEqual(troubleOf({ kind: 'retrying', error: new HlsUnsupported() }), { text: 'player.unsupported', error: null })
  assert.deepEqual(troubleOf({ kind: 'stale' }), { text: 'player.stale', error: null })
  for (const kind of ['playing', 'connecting'] as const) assert.equal(troubleOf({ kind }), null)
})

test('which stream pictures are of is told by their size, where that tells', () => {
  const sized = (width: number, height: number) => ({ state: 'live', video: { codec: 'h264', width, height } })
  const two = camera('a', { profile: null, streams: { main: sized(1280, 720), sub: sized(640, 360) } })
  assert.equal(streamOfSize(two, 640, 360), 'sub')
  assert.equal(streamOfSize(two, 1280, 720), 'main')
  assert.equal(streamOfSize(two, 0, 0), null)
  const alike = camera('a', { profile: null, streams: { main: sized(640, 360), sub: sized(640, 360) } })
  assert.equal(streamOfSize(alike, 640, 360), null)
  assert.equal(shownStream(two, null, { width: 640, height: 360 }), two.streams.sub)
  assert.equal(shownStream(two, null, null), two.streams.main)
  assert.equal(shownStream(two, 'main', { width: 640, height: 360 }), two.streams.main)
  assert.equal(shownStream(two, 'sub', null), two.streams.sub)
  assert.equal(usualStream(two), 'auto')
  assert.equal(usualStream(camera('a', { profile: null, streams: { main: sized(1, 1) } })), 'main')
})
