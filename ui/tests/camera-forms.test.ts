import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULTS } from '../src/components/camera-fields'
import { fingerprintIn, formatFingerprint, parseFingerprint, withoutFingerprint } from '../src/fingerprint'
import { toNewCamera } from '../src/pages/add-camera'
import { NEW_SPAN, samePlan, toPlan, toPlanForm } from '../src/recording-plan'

const DIGITS = '0123456789abcdef'.repeat(4)
const FORM = { ...DEFAULTS, name: 'Gate', address: '192.0.2.1', subAddress: '', username: '', password: '', plan: toPlanForm({ mode: 'continuous' }), attested: 0 }

test('the fingerprint is read out of the sentence of the server, and only a whole one', () => {
  assert.equal(fingerprintIn(`Signed by nobody. Its SHA-256 fingerprint is ${DIGITS}.`), DIGITS)
  assert.equal(fingerprintIn(`is ${DIGITS}0.`), null)
  assert.equal(fingerprintIn('The certificate has expired.'), null)
})

test('a sentence loses its fingerprint where that is shown beside it', () => {
  const nobody = 'The certificate is signed by nobody.'
  assert.equal(withoutFingerprint(`${nobody} Its SHA-256 fingerprint is ${DIGITS}.`), nobody)
  assert.equal(withoutFingerprint(`Another certificate than the pinned one: SHA-256 ${DIGITS}.`), 'Another certificate than the pinned one.')
  assert.equal(withoutFingerprint(nobody), nobody)
})

test('fingerprints are taken in the forms that people paste', () => {
  assert.equal(parseFingerprint(formatFingerprint(DIGITS)), DIGITS)
  assert.equal(parseFingerprint(` SHA256:${DIGITS} `), DIGITS)
  assert.equal(parseFingerprint(''), '')
  for (const wrong of ['12:34', `${DIGITS}0`, 'g'.repeat(64)]) assert.equal(parseFingerprint(wrong), null)
})

test('what nobody chose is not sent', () => {
  assert.deepEqual(toNewCamera(FORM), { name: 'Gate', address: '192.0.2.1', recording: { mode: 'continuous' } })
})

test('what was chosen is sent where it applies', () => {
  const chosen = { ...FORM, transport: 'udp', recordStream: 'both', gridStream: 'main', fingerprint: formatFingerprint(DIGITS) } as const
  assert.deepEqual(toNewCamera(chosen), {
    name: 'Gate', address: '192.0.2.1', recording: { mode: 'continuous' }, transport: 'udp', record_stream: 'both', grid_stream: 'main',
  })
  const plain = { ...chosen, address: 'rtsps://192.0.2.1/a' }
  assert.deepEqual(toNewCamera(plain), { name: 'Gate', address: plain.address, recording: { mode: 'continuous' }, tls_fingerprint: DIGITS })
  const sub = { ...plain, subAddress: 'rtsps://192.0.2.1/b' }
  assert.equal(toNewCamera(sub).record_stream, 'both')
  assert.equal(toNewCamera({ ...sub, address: '192.0.2.1' }).sub_address, undefined, 'ONVIF tells it')
})

test('a plan comes out of its form as it went in, and midnight ends a day', () => {
  const plans = [
    { mode: 'off' },
    { mode: 'event', kinds: ['motion', 'tamper'], before_s: 0, after_s: 12.5 },
    { mode: 'schedule', time_zone: 'Asia/Ho_Chi_Minh', spans: [{ days: ['mon', 'sun'], from: '08:00', to: '24:00' }] },
  ] as const
  for (const plan of plans) {
    const known = structuredClone(plan) as unknown as Parameters<typeof toPlanForm>[0]
    assert.deepEqual(toPlan(toPlanForm(known)), known)
    assert.ok(samePlan(known, known))
  }
})

test('a plan that lacks something is none', () => {
  const form = { ...toPlanForm({ mode: 'schedule' }), timeZone: 'UTC' }
  assert.ok(toPlan(form))
  assert.equal(toPlan({ ...form, timeZone: ' ' }), null)
  assert.equal(toPlan({ ...form, spans: [] }), null)
  assert.equal(toPlan({ ...form, spans: [{ ...NEW_SPAN, days: [] }] }), null)
  assert.equal(toPlan({ ...form, spans: [{ ...NEW_SPAN, to: NEW_SPAN.from }] }), null)
  assert.equal(toPlan({ ...form, spans: [{ ...NEW_SPAN, from: '' }] }), null)
  const event = toPlanForm({ mode: 'event' })
  for (const wrong of [{ kinds: [] }, { beforeS: '61' }, { afterS: '' }, { afterS: '-1' }, { beforeS: 'x' }]) {
    assert.equal(toPlan({ ...event, ...wrong }), null)
  }
})
