/** The page's side of the states of cameras: who listens, over the shared worker where there is one. */
import { DOWN, StatesConnection, StatesHeard, type StatesMessage } from './camera-states'
import type { Follow } from './poller'
import type { FromPage } from './states-worker'
import type { Camera } from './types'

/** Of two pages, the new one listens when the old one has left: one connection lasts over that. */
const LINGER_MS = 2000

type Listener = (message: StatesMessage) => void

/** To where states come from; it answers `listen` with where things stand. */
interface Line {
  say: (wish: FromPage) => void
}

const listeners = new Set<Listener>()
const heard = new StatesHeard()
let line: Line | null = null
let isListening = false
let leaving: ReturnType<typeof setTimeout> | undefined

function hear(message: StatesMessage): void {
  // what was under way when the page left is of then
  if (!isListening) return
  heard.take(message)
  for (const listener of [...listeners]) listener(message)
}

/** A worker of its own for each build, so that pages of two versions do not share one. */
function openLine(): Line {
  const script = document.documentElement.dataset['statesWorker']
  if (typeof SharedWorker === 'undefined' || !script) return ownConnection()
  const worker = new SharedWorker(script, { type: 'module', name: 'camera states' })
  worker.port.onmessage = (event: MessageEvent<StatesMessage>) => hear(event.data)
  worker.onerror = () => {
    line = ownConnection()
    if (isListening) line.say('listen')
  }
  return { say: (wish) => worker.port.postMessage(wish) }
}

function ownConnection(): Line {
  let connection: StatesConnection | null = null
  return {
    say: (wish) => {
      connection?.close()
      connection = wish === 'listen' ? new StatesConnection(hear) : null
      if (connection) hear(DOWN)
    },
  }
}

function begin(): void {
  isListening = true
  line ??= openLine()
  line.say('listen')
}

function end(wish: 'leave' | 'forget'): void {
  clearTimeout(leaving)
  isListening = false
  heard.forget()
  line?.say(wish)
}

/** Calls `listener` with every message until the answer is called; who comes later hears where things stand. */
function listen(listener: Listener): () => void {
  clearTimeout(leaving)
  listeners.add(listener)
  if (!isListening) begin()
  else for (const message of heard.retold()) listener(message)
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0 && isListening) leaving = setTimeout(() => end('leave'), LINGER_MS)
  }
}

/** Called when an account leaves: the next one is told what it may see, not what this one saw. */
export const forgetStates = (): void => end('forget')

/** The list of cameras, for a Poller. */
export const followCameras: Follow<Camera[]> = (to) =>
  listen(({ event }) => {
    if (event === 'up' || event === 'down') to.isUp(event === 'up')
    else if (heard.cameras && (event === 'cameras' || event === 'camera' || event === 'gone')) to.value(heard.cameras)
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
globalThis.addEventListener?.('pagehide', () => isListening && end('leave'))
globalThis.addEventListener?.('pageshow', (event) => event.persisted && listeners.size > 0 && begin())
