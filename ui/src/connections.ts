/**
 * The connections that this page holds now, by `camera/stream` (WebRTC) and by `camera` (HLS). The facts
 * beside a picture are read from here; `window.mediasrvDebug` shows the same to tests and to support.
 */
import type Hls from 'hls.js'
import type { LiveStream } from './types'

export interface Connections {
  peers: Record<string, RTCPeerConnection>
  hls: Record<string, Hls>
}

declare global {
  interface Window {
    mediasrvDebug: Connections
  }
}

/** Of a WebRTC connection. */
export const peerKey = (camera: string, stream: LiveStream) => `${camera}/${stream}`

export const connections: Connections = { peers: {}, hls: {} }

export function exposeConnections(): void {
  window.mediasrvDebug = connections
}
