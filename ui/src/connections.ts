/**
 * The connections that this page holds now, by `camera/stream` (WebRTC) and by `camera` (HLS). The facts
 * beside a picture are read from here; `window.mediasrvDebug` shows the same to tests and to support.
 */
import type Hls from 'hls.js'

export interface Connections {
  peers: Record<string, RTCPeerConnection>
  hls: Record<string, Hls>
}

declare global {
  interface Window {
    mediasrvDebug: Connections
  }
}

export const connections: Connections = { peers: {}, hls: {} }

export function exposeConnections(): void {
  window.mediasrvDebug = connections
}
