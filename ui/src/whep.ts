/**
 * One WHEP session (draft-ietf-wish-whep): POST of an offer, the answer, DELETE of the session's Location.
 *
 * The server is ICE-lite with its addresses in the answer, so the offer goes out at once,
 * without candidates: our checks reach it from whatever address we have.
 */
import { send } from './api'

const POST_TIMEOUT_MS = 10_000
const CLOSE_TIMEOUT_MS = 2000
const AHEAD_MS = 3000
/** Leaving one page for another, the sessions of the old one end behind the joins of the new one, which somebody waits for. */
const CLOSE_AFTER_MS = 300

export interface WhepSession {
  readonly peer: RTCPeerConnection
  /** What arrives: video, and audio where it was asked for and the server has it. */
  readonly stream: MediaStream
  /** Ends the session here and on the server. */
  close(): void
}

/**
 * Joins a stream. Throws ApiError with the server's reason. There is no giving up half way: the server would be
 * left with a session whose Location nobody knows.
 */
export async function joinWhep(url: string, audio: boolean): Promise<WhepSession> {
  const peer = await offeringPeer(audio)
  let close = () => peer.close()
  try {
    const stream = new MediaStream()
    peer.ontrack = (event) => stream.addTrack(event.track)
    const response = await postOffer(url, peer)
    close = closer(peer, resourceOf(response))
    await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() })
    return { peer, stream, close }
  } catch (error) {
    close()
    throw error
  }
}

let ahead: { url: string; session: Promise<WhepSession> } | null = null

/** Begins to join a stream, with audio, that the page which is about to open will want: `takeAhead` hands it over. */
export function joinAhead(url: string): void {
  const begun = { url, session: joinWhep(url, true) }
  ahead = begun
  begun.session.catch(() => undefined) // who takes it over sees the error; nobody else needs to
  setTimeout(() => {
    if (ahead !== begun) return
    ahead = null
    void begun.session.then((session) => session.close()).catch(() => undefined)
  }, AHEAD_MS)
}

/** The session that was begun for `url`, once, or null. */
export function takeAhead(url: string): Promise<WhepSession> | null {
  if (ahead?.url !== url) return null
  const { session } = ahead
  ahead = null
  return session
}

let spare: Promise<RTCPeerConnection> | null = null

/**
 * Makes a connection with its offer ready, for the next join with audio: what is left to do after the click is the
 * POST. One is kept at a time; an offer does not go stale, since it names no candidates.
 */
export function prepareJoin(): void {
  spare ??= openPeer(true)
}

function offeringPeer(audio: boolean): Promise<RTCPeerConnection> {
  const ready = audio ? spare : null
  if (ready) spare = null
  return ready ?? openPeer(audio)
}

async function openPeer(audio: boolean): Promise<RTCPeerConnection> {
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
  peer.addTransceiver('video', { direction: 'recvonly' })
  if (audio) peer.addTransceiver('audio', { direction: 'recvonly' })
  await peer.setLocalDescription()
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

const open = new Set<() => void>()
// a page that goes away tells the server, which would else wait for its consent timer
globalThis.addEventListener?.('pagehide', () => {
  for (const endNow of [...open]) endNow()
})

function closer(peer: RTCPeerConnection, resource: URL | null): () => void {
  if (!resource) return () => peer.close()
  const endNow = () => {
    if (!open.delete(endNow)) return
    // the server is told first: it takes the end of DTLS, which closing the peer sends, for the session's end too
    const options: RequestInit = { method: 'DELETE', keepalive: true, signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }
    void fetch(resource, options)
      .catch(() => undefined)
      .finally(() => peer.close())
  }
  open.add(endNow)
  return () => {
    // decoding ends at once, whatever is left to say to the server
    for (const transceiver of peer.getTransceivers()) transceiver.stop()
    setTimeout(endNow, CLOSE_AFTER_MS)
  }
}
