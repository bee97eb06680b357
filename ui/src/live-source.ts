/** By which transport a stream can be watched live here, where WebRTC cannot bring it, and what is said where none can. */
import { ApiError } from './api'
import type { PlayerState } from './live-player'
import type { MessageKey } from './texts-vi'

/** The stream comes in no codec that this browser decodes by WebRTC, and the server cannot, or not now, convert it. */
const UNDECODED = 'webrtc_codec_unsupported'
const CODEC: ReadonlySet<string> = new Set([UNDECODED, 'transcoders_full'])
/** No way to the server's media port: UDP is blocked as a rule. */
export const UNREACHABLE = 'webrtc_unreachable'

/** Thrown where the browser has no Media Source Extensions. */
export class HlsUnsupported extends Error {}

/** Whether LL-HLS may bring what WebRTC, by this error, cannot. */
export function hlsCanBring(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false
  if (isUnreachable(error)) return hasMediaSource()
  return CODEC.has(error.code) && playsHevc()
}

/** The network keeps WebRTC from bringing any stream: it is nothing about this one. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof ApiError && error.code === UNREACHABLE
}

/** Neither way brings H.265 into this browser, now or later. */
function isHevcLost(error: unknown): boolean {
  return error instanceof ApiError && error.code === UNDECODED && !playsHevc()
}

/** `error`: what says more than the text does. */
export interface Trouble {
  text: MessageKey
  error: unknown
}

/** Why no live picture is seen; null while it plays, or is about to. */
export function troubleOf(state: PlayerState): Trouble | null {
  if (state.kind === 'playing' || state.kind === 'connecting') return null
  if (state.kind === 'stale') return { text: 'player.stale', error: null }
  if (state.error instanceof HlsUnsupported) return { text: 'player.unsupported', error: null }
  if (isHevcLost(state.error)) return { text: 'player.hevcLost', error: null }
  return { text: 'player.reconnecting', error: state.error }
}

function hasMediaSource(): boolean {
  return 'MediaSource' in globalThis || 'ManagedMediaSource' in globalThis
}

/** H.265, Main profile, as cameras send it. */
function playsHevc(): boolean {
  const { MediaSource, ManagedMediaSource } = globalThis as { MediaSource?: MediaSourceKind; ManagedMediaSource?: MediaSourceKind }
  return (MediaSource ?? ManagedMediaSource)?.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"') ?? false
}

interface MediaSourceKind {
  isTypeSupported: (type: string) => boolean
}
