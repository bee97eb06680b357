/** The page's side of the states of cameras: who listens, over the shared worker where there is one. */
import { applyStates, StatesConnection, type StatesMessage } from './camera-states'
import type { Follow } from './poller'
import type { FromPage } from './states-worker'
import type { Camera } from './types'

type Listener = (message: StatesMessage) => void

const listeners = new Set<Listener>()
let cameras: Camera[] | null = null
let isUp = false
let line: { say: (wish: FromPage) => void } | null = null

function hear(message: StatesMessage): void {
  if (message.event === 'up' || message.event === 'down') isUp = message.event === 'up'
  cameras = applyStates(cameras ?? [], message)
  for (const listener of [...listeners]) listener(message)
}

/** A worker of its own for each build, so that pages of two versions do not share one. */
function openLine(): { say: (wish: FromPage) => void } {
  const script = document.documentElement.dataset['statesWorker']
  if (typeof SharedWorker === 'undefined' || !script) return ownConnection()
  const worker = new SharedWorker(script, { type: 'module', name: 'camera states' })
  worker.port.onmessage = (event: MessageEvent<StatesMessage>) => listeners.size > 0 && hear(event.data)
  worker.onerror = () => {
    line = ownConnection()
    if (listeners.size > 0) line.say('listen')
  }
  return { say: (wish) => worker.port.postMessage(wish) }
}

function ownConnection(): { say: (wish: FromPage) => void } {
  let connection: StatesConnection | null = null
  return {
    say: (wish) => {
      connection?.close()
      connection = wish === 'listen' ? new StatesConnection(hear) : null
    },
  }
}

function say(wish: FromPage): void {
  line ??= openLine()
  line.say(wish)
}

/** Calls `listener` with every message until the answer is called; who comes later hears where things stand. */
function listen(listener: Listener): () => void {
  listeners.add(listener)
  if (listeners.size === 1) say('listen')
  else if (isUp) listener({ event: 'up', data: '{}' })
  return () => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    say('leave')
    isUp = false
    cameras = null
  }
}

/** Called when an account leaves: the next one is told what it may see, not what this one saw. */
export function forgetStates(): void {
  isUp = false
  cameras = null
  if (line) say('forget')
}

/** The list of cameras, for a Poller. */
export const followCameras: Follow<Camera[]> = (to) =>
  listen(({ event }) => {
    if (event === 'up' || event === 'down') to.isUp(event === 'up')
    else if (cameras && (event === 'cameras' || event === 'camera' || event === 'gone')) to.value(cameras)
  })

/** That a camera told something new, for a Poller that asks what. */
export function followTold<T>(camera: string): Follow<T> {
  return (to) =>
    listen(({ event, data }) => {
      if (event === 'up' || event === 'down') to.isUp(event === 'up')
      if (event === 'told' && camera in (JSON.parse(data) as { cameras: object }).cameras) to.ask()
    })
}

// a page that goes away, also into the browser's cache of pages, hears nothing; one that comes back does again
globalThis.addEventListener?.('pagehide', () => line?.say('leave'))
globalThis.addEventListener?.('pageshow', (event) => event.persisted && listeners.size > 0 && say('listen'))
