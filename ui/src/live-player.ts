/** Plays a camera live by WHEP into a video element, and keeps it playing: reconnects by itself. */
import { ApiError, whepUrl } from './api'
import { type Alarm, backoffMs, sleep } from './backoff'
import { connections, peerKey } from './connections'
import { onFirstPicture } from './first-picture'
import type { JoinGate } from './join-gate'
import { UNREACHABLE } from './live-source'
import type { LiveStream } from './types'
import { type WhepSession, joinWhep, takeAhead } from './whep'

export type PlayerState =
  | { kind: 'connecting' }
  /** `silent`: the server's code for why there is no sound. */
  | { kind: 'playing'; silent?: string | undefined }
  /** Connected, but no packet for STALE_MS: what is seen is old. */
  | { kind: 'stale' }
  | { kind: 'retrying'; error: unknown }

export interface LivePlayerOptions {
  camera: string
  stream: LiveStream
  audio: boolean
  gate?: JoinGate
  /** False while the server says that the camera gives no pictures: silence is then no reason to reconnect. */
  expectsPictures: () => boolean
  /** Rung when pictures are to be expected again: the rest of a pause is then skipped. */
  alarm: Alarm
  onState: (state: PlayerState) => void
}

const BACKOFF = { firstMs: 500, mostMs: 15_000 }
/** For answers that a quick retry will not change: no right, no such camera, no codec in common. */
const REFUSED_BACKOFF = { firstMs: 20_000, mostMs: 60_000 }
/** A join that has no picture by then makes room for the next one. */
const TURN_MS = 1500
/** ICE and DTLS take a tenth of a second; where UDP is blocked they never end. */
const CONNECT_MS = 7000
const WATCH_MS = 1000
const STALE_MS = 3000
const DEAD_MS = 9000

/** Runs until `signal` aborts; errors become states. One call owns `video` while it runs. */
export async function playLive(
  video: HTMLVideoElement,
  options: LivePlayerOptions,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    let error: unknown = null
    try {
      if (failures === 0) options.onState({ kind: 'connecting' })
      await playOnce(video, options, signal, () => (failures = 0))
    } catch (reason) {
      error = reason
    }
    if (signal.aborted) return
    failures += 1
    options.onState({ kind: 'retrying', error })
    await options.alarm.sleep(waitMs(error, failures), signal)
  }
}

function waitMs(error: unknown, failures: number): number {
  if (!(error instanceof ApiError)) return backoffMs(failures, BACKOFF)
  const asked = (error.retryAfterS ?? 0) * 1000
  const refused = [401, 403, 404, 406].includes(error.status)
  return Math.max(asked, backoffMs(failures, refused ? REFUSED_BACKOFF : BACKOFF))
}

/** One session, from join to its end. Returns when it broke, throws when the join failed. */
async function playOnce(
  video: HTMLVideoElement,
  options: LivePlayerOptions,
  signal: AbortSignal,
  onPlaying: () => void,
): Promise<void> {
  const key = peerKey(options.camera, options.stream)
  const leaveGate = (await options.gate?.enter(signal)) ?? (() => undefined)
  const turn = setTimeout(leaveGate, TURN_MS)
  let session: WhepSession | null = null
  let cancelFirst = () => undefined as void
  try {
    const first = new Promise<void>((resolve) => {
      cancelFirst = onFirstPicture(video, key, performance.now(), resolve)
    })
    const url = whepUrl(options.camera, options.stream)
    session = await (takeAhead(url, options.audio) ?? joinWhep(url, options.audio))
    signal.throwIfAborted()
    attach(video, session.stream)
    connections.peers[key] = session.peer
    void first.then(() => {
      leaveGate()
      onPlaying()
      options.onState({ kind: 'playing' })
    })
    await untilBroken(session, video, options, signal)
  } finally {
    clearTimeout(turn)
    leaveGate()
    cancelFirst()
    session?.close()
    if (session && connections.peers[key] === session.peer) delete connections.peers[key]
  }
}

function attach(video: HTMLVideoElement, stream: MediaStream): void {
  video.srcObject = stream
  // autoplay of a muted video is always allowed; a refusal means that the page is going away
  void video.play().catch(() => undefined)
}

/**
 * Watches packets arrive; returns when the connection failed or pictures that should come do not. Throws ApiError
 * `webrtc_unreachable` where it was never there.
 */
async function untilBroken(
  session: WhepSession,
  video: HTMLVideoElement,
  options: LivePlayerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { peer } = session
  const link = new Link(session)
  const joinedMs = performance.now()
  let packets = 0
  let arrivedMs = joinedMs
  let stale = false
  try {
    while (!signal.aborted) {
      await sleep(WATCH_MS, signal)
      const nowMs = performance.now()
      const received = await packetsReceived(peer)
      if (received > packets) {
        packets = received
        arrivedMs = nowMs
        if (stale) options.onState({ kind: 'playing' })
        stale = false
        continue
      }
      if (packets === 0 && !link.wasUp && (nowMs - joinedMs > CONNECT_MS || peer.connectionState === 'failed')) {
        throw new ApiError(0, UNREACHABLE, 'WebRTC reaches no media port of the server.')
      }
      if (link.isLost || (nowMs - arrivedMs > DEAD_MS && options.expectsPictures())) return
      if (!stale && packets > 0 && video.videoWidth > 0 && nowMs - arrivedMs > STALE_MS) {
        stale = true
        options.onState({ kind: 'stale' })
      }
    }
  } finally {
    link.close()
  }
}

/** Follows a session's connection, and restarts ICE where the network changed under it. */
class Link {
  wasUp = false
  /** The session is over, and ICE could not be restarted: join anew. */
  isLost = false
  #restarting = false
  readonly #stop = new AbortController()

  constructor(private readonly session: WhepSession) {
    const { signal } = this.#stop
    const { peer } = session
    peer.addEventListener('connectionstatechange', () => this.#onState(peer.connectionState), { signal })
    this.#onState(peer.connectionState)
    globalThis.addEventListener('online', () => this.#restart(), { signal })
  }

  close(): void {
    this.#stop.abort()
  }

  #onState(state: RTCPeerConnectionState): void {
    if (state === 'connected') this.wasUp = true
    if (state === 'closed') this.isLost = true
    if ((state === 'disconnected' || state === 'failed') && this.wasUp) this.#restart()
  }

  #restart(): void {
    if (this.#restarting || this.#stop.signal.aborted) return
    this.#restarting = true
    this.session
      .restart()
      .then(() => (this.#restarting = false))
      .catch(() => (this.isLost = true))
  }
}

async function packetsReceived(peer: RTCPeerConnection): Promise<number> {
  for (const entry of (await peer.getStats()).values() as Iterable<RTCInboundRtpStreamStats>) {
    if (entry.type === 'inbound-rtp' && entry.kind === 'video') return entry.packetsReceived ?? 0
  }
  return 0
}
