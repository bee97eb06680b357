import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { type StatesEvent, StatesHeard, type StatesMessage } from '../src/camera-states'
import type { FromPage } from '../src/states-worker'
import type { Camera } from '../src/types'

const camera = (id: string) => ({ id, name: id }) as Camera
const cameras = (...ids: string[]) => JSON.stringify({ cameras: ids.map(camera) })

/** The server's side of an event stream. */
class FakeSource {
  static readonly CLOSED = 2
  readonly readyState = 1
  onerror = () => undefined
  isClosed = false
  readonly #listeners = new Map<string, (message: { data: string }) => void>()

  constructor() {
    sources.push(this)
  }

  addEventListener(event: string, listener: (message: { data: string }) => void): void {
    this.#listeners.set(event, listener)
  }

  close(): void {
    this.isClosed = true
  }

  tell(event: StatesEvent, data: string): void {
    this.#listeners.get(event)?.({ data })
  }
}

const sources: FakeSource[] = []
const openSources = () => sources.filter((source) => !source.isClosed)

interface Port<In, Out> {
  onmessage: ((event: { data: In }) => void) | null
  postMessage: (data: Out) => void
}

/** Connects a page to the worker, as a browser does. */
function connect(): Port<StatesMessage, FromPage> {
  const page: Port<StatesMessage, FromPage> = { onmessage: null, postMessage: (data) => inside.onmessage?.({ data }) }
  const inside: Port<FromPage, StatesMessage> = { onmessage: null, postMessage: (data) => page.onmessage?.({ data }) }
  ;(globalThis as unknown as { onconnect: (event: object) => void }).onconnect({ ports: [inside] })
  return page
}

class FakeWorker {
  readonly port = pagePort
}

Object.assign(globalThis, {
  EventSource: FakeSource,
  SharedWorker: FakeWorker,
  document: { documentElement: { dataset: { statesWorker: '/states-worker.js' } } },
})
mock.timers.enable({ apis: ['setTimeout'] })
await import('../src/states-worker')
const pagePort = connect()
const { followCameras, forgetStates } = await import('../src/states')

/** Another page, which hears what the worker says. */
function anotherPage(): { say: (wish: FromPage) => void; heard: string[] } {
  const heard: string[] = []
  const port = connect()
  port.onmessage = ({ data: { event } }) => heard.push(event)
  return { say: (wish) => port.postMessage(wish), heard }
}

function followed() {
  const told: { lists: string[][]; up: boolean[] } = { lists: [], up: [] }
  const stop = followCameras({
    value: (list) => told.lists.push(list.map(({ id }) => id)),
    isUp: (isUp) => told.up.push(isUp),
    ask: () => undefined,
  })
  return { ...told, stop }
}

test('only a whole list begins one', () => {
  const heard = new StatesHeard()
  heard.take({ event: 'camera', data: '{"id":"a","enabled":false}' })
  heard.take({ event: 'gone', data: '{"id":"a"}' })
  assert.equal(heard.cameras, null)
  heard.take({ event: 'cameras', data: cameras('a', 'b') })
  heard.take({ event: 'gone', data: '{"id":"a"}' })
  assert.deepEqual(heard.cameras, [camera('b')])
  assert.deepEqual(heard.retold().map(({ event }) => event), ['down'])
  heard.take({ event: 'up', data: '{}' })
  assert.deepEqual(heard.retold().map(({ event }) => event), ['cameras', 'up'])
})

test('whoever ends the connection, the other pages are told', () => {
  const stays = anotherPage()
  const leaves = anotherPage()
  stays.say('listen')
  leaves.say('listen')
  assert.deepEqual(stays.heard, ['down'], 'it is told that nothing is told yet')
  openSources()[0]?.tell('cameras', cameras('a'))
  assert.deepEqual(leaves.heard, ['down', 'cameras', 'up'])
  leaves.say('forget')
  assert.deepEqual(stays.heard, ['down', 'cameras', 'up', 'down'])
  assert.deepEqual(leaves.heard, ['down', 'cameras', 'up'], 'it hears no more')
  assert.equal(openSources().length, 1, 'those who are left hear by another one')
  stays.say('leave')
  assert.equal(openSources().length, 0)
})

test('a page that comes back is told that nothing is told', () => {
  const other = anotherPage()
  const comesBack = anotherPage()
  other.say('listen')
  comesBack.say('listen')
  openSources()[0]?.tell('cameras', cameras('a'))
  comesBack.say('leave')
  other.say('forget')
  comesBack.say('listen')
  assert.equal(comesBack.heard.at(-1), 'down')
  comesBack.say('leave')
})

test('who comes later hears where things stand', () => {
  const first = followed()
  openSources()[0]?.tell('camera', '{"id":"a","enabled":false}')
  openSources()[0]?.tell('cameras', cameras('a', 'b'))
  assert.deepEqual(first.lists, [['a', 'b']])
  const second = followed()
  assert.deepEqual([second.lists, second.up], [[['a', 'b']], [true]])
  forgetStates()
  assert.equal(openSources().length, 0, 'the next account hears by a connection of its own')
  first.stop()
  second.stop()
})

test('one connection lasts from one page to the next, and ends a while after the last', () => {
  const before = sources.length
  const first = followed()
  openSources()[0]?.tell('cameras', cameras('a'))
  first.stop()
  mock.timers.tick(1000)
  const second = followed()
  assert.deepEqual(second.lists, [['a']])
  mock.timers.tick(10_000)
  assert.equal(openSources().length, 1)
  second.stop()
  mock.timers.tick(10_000)
  assert.equal(openSources().length, 0)
  assert.equal(sources.length, before + 1)
})

test('an account that leaves is not waited for', () => {
  followed().stop()
  assert.equal(openSources().length, 1)
  forgetStates()
  assert.equal(openSources().length, 0)
  pagePort.onmessage?.({ data: { event: 'cameras', data: cameras('theirs') } }) // was under way
  const next = followed()
  openSources()[0]?.tell('camera', '{"id":"a","enabled":false}')
  assert.deepEqual(next.lists, [])
  mock.timers.tick(10_000)
  assert.equal(openSources().length, 1, 'what was to end the other one does not end this one')
  next.stop()
  mock.timers.tick(10_000)
})
