/**
 * A shared worker: holds the one connection by which all pages of this browser hear of cameras. A browser opens six
 * connections to a server of HTTP/1.1, whatever the number of pages.
 */
import { applyStates, StatesConnection, type StatesMessage } from './camera-states'
import type { Camera } from './types'

/** What a page says: that it listens, that it does not, or that another account is there now. */
export type FromPage = 'listen' | 'leave' | 'forget'

const listening = new Set<MessagePort>()
let connection: StatesConnection | null = null
let cameras: Camera[] | null = null
let isUp = false

function hear(message: StatesMessage): void {
  if (message.event === 'up' || message.event === 'down') isUp = message.event === 'up'
  if (message.event !== 'beat') cameras = applyStates(cameras ?? [], message)
  for (const port of listening) port.postMessage(message)
}

function close(): void {
  connection?.close()
  connection = cameras = null
  isUp = false
}

function obey(port: MessagePort, wish: FromPage): void {
  if (wish === 'forget') close()
  if (wish === 'leave') listening.delete(port)
  if (wish === 'listen') {
    listening.add(port)
    if (isUp && cameras) {
      port.postMessage({ event: 'cameras', data: JSON.stringify({ cameras }) } satisfies StatesMessage)
      port.postMessage({ event: 'up', data: '{}' } satisfies StatesMessage)
    }
  }
  if (listening.size === 0) close()
  else connection ??= new StatesConnection(hear)
}

/** TypeScript's DOM library does not know the inside of a shared worker. */
const worker = globalThis as unknown as { onconnect: (event: MessageEvent) => void }
worker.onconnect = ({ ports: [port] }) => {
  if (port) port.onmessage = (event: MessageEvent<FromPage>) => obey(port, event.data)
}
