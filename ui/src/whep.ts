/**
 * One WHEP session (draft-ietf-wish-whep): POST of an offer, the answer, DELETE of the session's Location.
 *
 * The server is ICE-lite with its addresses in the answer, so the offer goes out at once,
 * without candidates: our checks reach it from whatever address we have.
 */
import { send } from './api'

const POST_TIMEOUT_MS = 10_000

export interface WhepSession {
  readonly peer: RTCPeerConnection
  /** Ends the session here and on the server. */
  close(): void
}

export interface WhepOptions {
  url: string
  audio: boolean
  signal: AbortSignal
  onStream: (stream: MediaStream) => void
}

/** Joins a stream. Throws ApiError with the server's reason, or the signal's reason when aborted. */
export async function joinWhep(options: WhepOptions): Promise<WhepSession> {
  const peer = openPeer(options)
  let resource: URL | null = null
  try {
    await peer.setLocalDescription()
    // not aborted half way: the server would be left with a session whose Location nobody knows
    const response = await postOffer(options.url, peer)
    resource = resourceOf(response)
    options.signal.throwIfAborted()
    await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() })
    options.signal.throwIfAborted()
    return { peer, close: closer(peer, resource) }
  } catch (error) {
    closer(peer, resource)()
    throw error
  }
}

function openPeer(options: WhepOptions): RTCPeerConnection {
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
  const stream = new MediaStream()
  peer.addTransceiver('video', { direction: 'recvonly' })
  if (options.audio) peer.addTransceiver('audio', { direction: 'recvonly' })
  peer.ontrack = (event) => {
    stream.addTrack(event.track)
    options.onStream(stream)
  }
  return peer
}

function postOffer(url: string, peer: RTCPeerConnection): Promise<Response> {
  const body = peer.localDescription?.sdp ?? ''
  return send(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body }, POST_TIMEOUT_MS)
}

function resourceOf(response: Response): URL | null {
  const location = response.headers.get('Location')
  return location === null ? null : new URL(location, response.url)
}

function closer(peer: RTCPeerConnection, resource: URL | null): () => void {
  let closed = false
  return () => {
    if (closed) return
    closed = true
    peer.close()
    // keepalive lets the request outlive the page; where it fails, the server's consent timer frees the session
    if (resource) void fetch(resource, { method: 'DELETE', keepalive: true }).catch(() => undefined)
  }
}
