import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sourceOf, toForm, toPolicy } from '../src/retention'
import type { Retention } from '../src/types'

const POLICY = {
  max_age_days: 7,
  max_size_bytes: null,
  keep_events: { motion: 90 },
  event_before_s: 0,
  event_after_s: null,
}

test('a policy survives its form', () => {
  assert.deepEqual(toPolicy(toForm(POLICY)), POLICY)
})

test('an empty field is inherited, and 0 GB is no limit', () => {
  const form = toForm({ ...POLICY, max_size_bytes: 5e9 })
  assert.equal(form.maxSize, '5')
  assert.equal(toPolicy({ ...form, maxSize: '0' })?.max_size_bytes, 0)
  assert.equal(toPolicy({ ...form, maxAge: ' ' })?.max_age_days, null)
})

test('what makes no sense is no policy', () => {
  const form = toForm(POLICY)
  for (const maxAge of ['0', '-1', '1.5', 'x']) assert.equal(toPolicy({ ...form, maxAge }), null, maxAge)
  assert.equal(toPolicy({ ...form, events: { ...form.events, tamper: '0' } }), null)
  assert.equal(toPolicy({ ...form, maxSize: '-1' }), null)
})

test('a bound is its own, of a place above, or of the settings', () => {
  const retention = { sources: { max_age_days: 'camera:a', max_size_bytes: 'place:north' } } as unknown as Retention
  assert.equal(sourceOf(retention, 'max_age_days', 'camera:a'), 'own')
  assert.equal(sourceOf(retention, 'max_size_bytes', 'camera:a'), 'place:north')
  assert.equal(sourceOf(retention, 'event_after_s', 'camera:a'), 'settings')
})
