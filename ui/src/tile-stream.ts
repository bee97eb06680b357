import type { Camera, StreamName } from './types'

/** The stream for a tile: the sub stream is enough, the main one serves where there is none or where it fails. Pure. */
export function tileStream(camera: Camera): StreamName {
  const { main, sub } = camera.streams
  if (!sub || sub.state === 'off' || camera.profile?.sub === null) return 'main'
  const failing = sub.state === 'retrying' || (sub.state === 'idle' && sub.reason !== null)
  return failing && main.state === 'live' ? 'main' : 'sub'
}
