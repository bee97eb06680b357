import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRoute } from '../src/router'
import { endsAt, isOff, isOutOfReach, LIFETIMES, rtspUrls } from '../src/rtsp-urls'

const BOTH = { port: 8554, tls_port: 8322, local_only: false }
const LOGIN = { username: 'rtsp-abc', password: 'a-b_c' }
const urls = (...rest: Parameters<typeof rtspUrls>) => rtspUrls(...rest).map(({ url }) => url)

test('a camera has a URL for each stream and each open port', () => {
  assert.deepEqual(urls(BOTH, 'media.example', LOGIN, 'gate-1', true), [
    'rtsp://rtsp-abc:a-b_c@media.example:8554/gate-1/main',
    'rtsp://rtsp-abc:a-b_c@media.example:8554/gate-1/sub',
    'rtsps://rtsp-abc:a-b_c@media.example:8322/gate-1/main',
    'rtsps://rtsp-abc:a-b_c@media.example:8322/gate-1/sub',
  ])
  assert.deepEqual(urls({ ...BOTH, tls_port: 0 }, '[2001:db8::1]', LOGIN, 'gate-1', false), [
    'rtsp://rtsp-abc:a-b_c@[2001:db8::1]:8554/gate-1/main',
  ])
  assert.deepEqual(urls({ ...BOTH, port: 0, tls_port: 0 }, 'media.example', LOGIN, 'gate-1', true), [])
})

test('what would end the password within a URL is escaped, and comes back as it was', () => {
  const login = { username: 'rtsp-abc', password: 'p@ss:/?#word%' }
  const [url = ''] = urls(BOTH, 'media.example', login, 'gate-1', false)
  const parsed = new URL(url.replace('rtsp:', 'http:'))
  assert.equal(parsed.host, 'media.example:8554')
  assert.equal(decodeURIComponent(parsed.password), login.password)
})

test('RTSP is off where both ports are', () => {
  assert.equal(isOff({ ...BOTH, port: 0 }), false)
  assert.equal(isOff({ ...BOTH, tls_port: 0 }), false)
  assert.equal(isOff({ ...BOTH, port: 0, tls_port: 0 }), true)
})

test('a door for the own machine alone is out of reach of whoever came from elsewhere', () => {
  const local = { ...BOTH, local_only: true }
  for (const here of ['localhost', '127.0.0.1', '[::1]']) assert.equal(isOutOfReach(local, here), false, here)
  for (const away of ['192.0.2.7', 'localhost.example', '127.example']) assert.equal(isOutOfReach(local, away), true, away)
  assert.equal(isOutOfReach(BOTH, '192.0.2.7'), false)
})

test('a login ends when it was said to, or never', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  assert.equal(endsAt('never', now), null)
  assert.equal(endsAt('week', now), '2026-01-08T00:00:00.000Z')
  const ends = LIFETIMES.slice(1).map((one) => Date.parse(endsAt(one, now) ?? ''))
  assert.deepEqual(ends, ends.toSorted((a, b) => a - b))
})

test('the page for other systems has an address', () => {
  assert.deepEqual(parseRoute('/', '#/other-systems'), { page: 'other-systems' })
  assert.deepEqual(parseRoute('/', '#/status'), { page: 'status' })
  assert.deepEqual(parseRoute('/', '#/others'), { page: 'unknown' })
})
