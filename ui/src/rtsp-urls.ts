/** What another system reads a camera with over RTSP: its URLs, and how long its login lasts. Pure. */
import type { RtspDoor, StreamName } from './types'

export interface RtspUrl {
  scheme: 'rtsp' | 'rtsps'
  stream: StreamName
  url: string
}

/** The URLs of a camera, login and all, by the ports that are open. `host` as the page was reached, IPv6 in brackets. */
export function rtspUrls(
  door: RtspDoor,
  host: string,
  login: { username: string; password: string },
  camera: string,
  hasSub: boolean,
): RtspUrl[] {
  const who = `${encodeURIComponent(login.username)}:${encodeURIComponent(login.password)}`
  const schemes = [['rtsp', door.port], ['rtsps', door.tls_port]] as const
  const streams: StreamName[] = hasSub ? ['main', 'sub'] : ['main']
  return schemes
    .filter(([, port]) => port > 0)
    .flatMap(([scheme, port]) =>
      streams.map((stream) => ({ scheme, stream, url: `${scheme}://${who}@${host}:${port}/${camera}/${stream}` })),
    )
}

export const isOff = (door: RtspDoor) => door.port === 0 && door.tls_port === 0

/** Whether nobody but the server's own machine gets in, while the page was reached from elsewhere. */
export function isOutOfReach(door: RtspDoor, host: string): boolean {
  return door.local_only && !/^(localhost|127\.[\d.]+|\[::1\])$/.test(host)
}

const DAYS = { never: 0, day: 1, week: 7, month: 30, quarter: 90, year: 365 } as const

export type Lifetime = keyof typeof DAYS
export const LIFETIMES = Object.keys(DAYS) as Lifetime[]

/** When a login that is made now ends (ISO 8601); null: never. */
export function endsAt(lifetime: Lifetime, nowMs: number): string | null {
  return lifetime === 'never' ? null : new Date(nowMs + DAYS[lifetime] * 86_400_000).toISOString()
}
