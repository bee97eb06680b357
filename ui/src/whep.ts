/**
 * One WHEP session (draft-ietf-wish-whep, on the pattern of WHIP, RFC 9725): POST of an offer, the answer, PATCH of the
 * session's Location to restart ICE, DELETE of it.
 *
 * The server is ICE-lite with its addresses in the answer, so the offer goes out at once,
 * without candidates: our checks reach it from whatever address we have.
 */
import { send } from './api'
import { parseIceServers, restartedAnswer, restartFragment } from './whep-sdp'

const POST_TIMEOUT_MS = 15_000
const RESTART_TIMEOUT_MS = 4000
const CLOSE_TIMEOUT_MS = 2000
const AHEAD_MS = 3000
/** Leaving one page for another, the sessions of the old one end behind the joins of the new one, which somebody waits for. */
const CLOSE_AFTER_MS = 300

export interface WhepSession {
  readonly peer: RTCPeerConnection
  /** What arrives: video, and audio where it was asked for and the server has it. */
  readonly stream: MediaStream
  /** Looks for another way to the server after the network changed. Throws where the server restarts no ICE: join anew. */
  restart(): Promise<void>
  /** Ends the session here and on the server. */
  close(): void
}

/**
 * Joins a stream. Throws ApiError with the server's reason. There is no giving up half way: the server would be
 * left with a session whose Location nobody knows.
 */
export async function joinWhep(url: string, audio: boolean, made = openPeer(audio)): Promise<WhepSession> {
  const offering = await made
  const { peer } = offering
  let close = () => peer.close()
  try {
    const stream = new MediaStream()
    peer.ontrack = (event) => stream.addTrack(event.track)
    const response = await postOffer(url, offering.offer)
    const resource = resourceOf(response)
    close = closer(peer, resource)
    await applyServers(offering, response)
    await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() })
    return { peer, stream, close, restart: () => restartIce(peer, resource) }
  } catch (error) {
    close()
    throw error
  }
}

async function restartIce(peer: RTCPeerConnection, resource: URL | null): Promise<void> {
  const answer = peer.currentRemoteDescription
  if (!resource || !answer) throw new Error('this session has no address')
  if (servers) peer.setConfiguration({ ...peer.getConfiguration(), iceServers: servers })
  peer.restartIce()
  await peer.setLocalDescription()
  const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }
  const body = restartFragment(peer.localDescription?.sdp ?? '')
  try {
    const response = await send(resource, { method: 'PATCH', headers, body }, RESTART_TIMEOUT_MS)
    await peer.setRemoteDescription({ type: 'answer', sdp: restartedAnswer(answer.sdp, await response.text()) })
  } catch (error) {
    // what still works goes on as it was
    await peer.setLocalDescription({ type: 'rollback' }).catch(() => undefined)
    throw error
  }
}

let ahead: { url: string; audio: boolean; session: Promise<WhepSession> } | null = null

/** Begins to join a stream that the page which is about to open will want: `takeAhead` hands it over. Ends with the join. */
export async function joinAhead(url: string, audio: boolean): Promise<void> {
  const begun = { url, audio, session: joinWhep(url, audio, takeSpare(audio)) }
  ahead = begun
  setTimeout(() => {
    if (ahead !== begun) return
    ahead = null
    void begun.session.then((session) => session.close()).catch(() => undefined)
  }, AHEAD_MS)
  await begun.session.catch(() => undefined) // who takes it over sees the error; nobody else needs to
}

/** The session that was begun for `url`, with audio or without, once, or null. */
export function takeAhead(url: string, audio: boolean): Promise<WhepSession> | null {
  if (ahead?.url !== url || ahead.audio !== audio) return null
  const { session } = ahead
  ahead = null
  return session
}

/** A connection and the offer that it makes; `isSet`: it has begun to look for its addresses. */
interface Offering {
  peer: RTCPeerConnection
  offer: RTCSessionDescriptionInit
  isSet: boolean
}

/** STUN and TURN servers, as the last answer named them; null before the first. */
let servers: RTCIceServer[] | null = null
/** By whether they offer audio. */
const spares = new Map<boolean, Promise<Offering>>()

/**
 * Makes a connection with its offer ready for the next `joinAhead`, with audio and without: what is left to do after
 * the click is the POST. An offer does not go stale, since it names no candidates.
 */
export function prepareJoins(): void {
  for (const audio of [true, false]) if (!spares.has(audio)) spares.set(audio, openPeer(audio))
}

function takeSpare(audio: boolean): Promise<Offering> | undefined {
  const spare = spares.get(audio)
  spares.delete(audio)
  return spare
}

async function openPeer(audio: boolean): Promise<Offering> {
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle', ...(servers && { iceServers: servers }) })
  peer.addTransceiver('video', { direction: 'recvonly' })
  if (audio) peer.addTransceiver('audio', { direction: 'recvonly' })
  const offer = await peer.createOffer()
  // which servers there are comes with an answer: the first offer waits for it before it looks for addresses
  if (servers) await peer.setLocalDescription(offer)
  return { peer, offer, isSet: servers !== null }
}

/** Servers come with the 201 (RFC 9725, 4.6): they hold for this join if it can still take them, and for the next ones. */
async function applyServers({ peer, offer, isSet }: Offering, response: Response): Promise<void> {
  servers = parseIceServers(response.headers.get('Link'))
  if (isSet) return
  if (servers.length > 0) peer.setConfiguration({ bundlePolicy: 'max-bundle', iceServers: servers })
  await peer.setLocalDescription(offer)
}

function postOffer(url: string, { sdp = '' }: RTCSessionDescriptionInit): Promise<Response> {
  return send(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: sdp }, POST_TIMEOUT_MS)
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
