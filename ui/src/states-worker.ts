/**
 * A shared worker: holds the one connection by which all pages of this browser hear of cameras. A browser opens six
 * connections to a server of HTTP/1.1, whatever the number of pages.
 */
import { DOWN, StatesConnection, StatesHeard, type StatesMessage } from './camera-states'

/** What a page says: that it listens, that it does not, or that it does not because its account leaves. */
export type FromPage = 'listen' | 'leave' | 'forget'

const listening = new Set<MessagePort>()
const heard = new StatesHeard()
let connection: StatesConnection | null = null

function hear(message: StatesMessage): void {
  heard.take(message)
  for (const port of listening) port.postMessage(message)
}

function close(): void {
  connection?.close()
  connection = null
  // the pages that are left ask until they are told again
  if (heard.isUp) hear(DOWN)
  heard.forget()
}

function obey(port: MessagePort, wish: FromPage): void {
  if (wish === 'listen') listening.add(port)
  else listening.delete(port)
  if (wish === 'forget') close()
  if (wish === 'listen') for (const message of heard.retold()) port.postMessage(message)
  if (listening.size === 0) close()
  else connection ??= new StatesConnection(hear)
}

/** TypeScript's DOM library does not know the inside of a shared worker. */
const worker = globalThis as unknown as { onconnect: (event: MessageEvent) => void }
worker.onconnect = ({ ports: [port] }) => {
  if (port) port.onmessage = (event: MessageEvent<FromPage>) => obey(port, event.data)
}
