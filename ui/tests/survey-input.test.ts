import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTable, toNewSurvey } from '../src/survey-input'

test('a list of addresses is no table, however it is separated', () => {
  for (const text of ['10.0.0.5', '10.0.0.5, 10.0.0.6:8000', '10.0.0.5-20;10.1.0.0/24', 'rtsp://h.vn/kenh1\n10.0.0.5'])
    assert.equal(isTable(text), false, text)
})

test('a user name or a password is never taken for a host', () => {
  for (const text of ['10.0.0.5,admin,s3cret', '10.0.0.5\n10.0.0.6;admin;a.b', 'Address\tusername', 'name,address\nx,10.0.0.5'])
    assert.equal(isTable(text), true, text)
})

test('empty logins are left out, and a file is always a table', () => {
  assert.deepEqual(toNewSurvey('10.0.0.5', false, '', ''), { addresses: '10.0.0.5' })
  assert.deepEqual(toNewSurvey('10.0.0.5', true, 'u', 'p'), { table: '10.0.0.5', username: 'u', password: 'p' })
})
