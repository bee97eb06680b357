import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { ApiError } from '../src/api'
import { fill, knownKey, translate, translator } from '../src/i18n'
import { en } from '../src/texts-en'
import { type MessageKey, vi } from '../src/texts-vi'

const keys = Object.keys(vi) as MessageKey[]
const placeholders = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()

test('both languages have the same texts, none empty', () => {
  assert.deepEqual(Object.keys(en).sort(), keys.toSorted())
  for (const key of keys) assert.ok(vi[key].trim() && en[key].trim(), key)
})

test('both languages take the same parameters', () => {
  for (const key of keys) assert.deepEqual(placeholders(en[key]), placeholders(vi[key]), key)
})

test('every text of the table is used, so that it does not rot', () => {
  const source = sources(path.join(process.cwd(), 'src')).join('\n')
  // prefixes under which keys are made at run time, from states and codes that the server names
  const made = ['state.', 'recording.', 'role.', 'error.', 'status.', 'field.', 'action.', 'condition.', 'player.', 'event.kind.', 'ptz.way.', 'ptz.speed.', 'service.', 'streams.', 'verdict.', 'surveyRow.', 'surveyState.', 'log.value.', 'log.field.', 'others.lifetime.', 'plan.', 'day.', 'recordAudio.']
  const unused = keys.filter((key) => !made.some((prefix) => key.startsWith(prefix)) && !source.includes(`'${key}'`))
  assert.deepEqual(unused, [])
})

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !/^texts-..(-log)?\.ts$/.test(path.basename(name)))
    .map((name) => readFileSync(path.join(folder, name), 'utf8'))
}

test('parameters are filled in, unknown ones stay visible', () => {
  assert.equal(fill('{a} of {b}', { a: 1 }), '1 of {b}')
  assert.equal(translate('en', 'wall.live', { count: 3 }), '3 live')
})

test('a key made from a code of the server is one only if the table has it', () => {
  assert.equal(knownKey('error.network'), 'error.network')
  assert.equal(knownKey('error.toString'), null)
  assert.equal(knownKey('constructor'), null)
})

test("an error is told in the reader's language: the server's sentence first", () => {
  const wrong = new ApiError(422, 'credentials_wrong', 'The camera refused.', 'Camera từ chối.')
  assert.equal(translator('vi').explain(wrong), 'Camera từ chối.')
  assert.equal(translator('en').explain(wrong), 'The camera refused.')
  assert.equal(translator('vi').explain(new ApiError(403, 'not_permitted', 'No.')), vi['error.not_permitted'])
  assert.equal(translator('vi').explain(new ApiError(503, 'transcoder_down', 'Nothing.')), vi['error.transcoder_down'])
  assert.equal(translator('en').explain(new ApiError(0, 'network', 'TypeError: x')), en['error.network'])
  assert.equal(translator('vi').explain(new ApiError(400, 'odd_code', 'Odd.')), 'Odd.')
})
