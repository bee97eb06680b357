import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { knownKey, translator } from '../src/i18n'
import { detailText, subjectText } from '../src/log-text'

const en = translator('en')
const vi = translator('vi')

test('a span in a subject is told in local time, its date once', () => {
  const start = new Date(2026, 10, 28, 7, 35, 55).toISOString()
  const end = new Date(2026, 10, 28, 7, 36, 6).toISOString()
  const nextDay = new Date(2026, 10, 29, 0, 0, 1).toISOString()
  assert.equal(subjectText(`gate-1/main ${start} ${end}`, en), 'gate-1/main 28/11/2026 07:35:55 – 07:36:06')
  assert.equal(subjectText(`gate-1/main ${start} ${nextDay}`, vi), 'gate-1/main 28/11/2026 07:35:55 – 29/11/2026 00:00:01')
})

test('what the server names is told in the language, what it does not is left alone', () => {
  assert.equal(subjectText('session', vi), 'phiên làm việc')
  assert.equal(subjectText('constructor', vi), 'constructor')
  assert.equal(subjectText('gate-1', vi), 'gate-1')
})

test('a signed receipt is for machines: the entry says the rest', () => {
  const detail = { key_id: 'ab12', objects: 3, reason: 'order 17', receipt: { document: '{}', signature: 'ff' } }
  assert.equal(detailText(detail, en), 'key ab12, objects 3, reason order 17')
})

test('every action of the access log has words', () => {
  const [, table = ''] = readFileSync('../docs/api.md', 'utf8').split('\n## Access log\n')
  const rows = table.split('\n').filter((line) => line.startsWith('| `'))
  const actions = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, action]) => action))
  assert.ok(actions.includes('login') && actions.length > 30)
  assert.deepEqual(actions.filter((action) => !knownKey(`action.${action}`)), [])
})

test('details are words and units, not JSON', () => {
  assert.equal(detailText({ by: 'whep' }, en), 'by WebRTC')
  assert.equal(detailText({ by: 'dvr' }, en), 'by live HLS that reaches back')
  assert.equal(detailText({ changed: ['credentials', 'name'] }, vi), 'đã đổi tài khoản camera, tên')
  const policy = { before: { max_age_days: null, max_size_bytes: 0 }, after: { max_age_days: 7, max_size_bytes: 5e9 } }
  assert.equal(detailText(policy, en), 'before (days the default, size no limit), after (days 7, size 5 GB)')
  assert.equal(detailText({ role: 'viewer', ends_us: null, odd_one: 3 }, en), 'role viewer, odd one 3')
  assert.equal(detailText(null, en), '')
})
