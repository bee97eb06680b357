/** What the address of `/watch/{camera}` asks for, and the way from there to the login and back. Pure. */
import type { LiveStream } from './types'

export interface WatchOptions {
  /** Null where the address names none. */
  camera: string | null
  stream: LiveStream
  muted: boolean
  controls: boolean
  language: 'vi' | 'en' | null
}

const OFF: ReadonlySet<string> = new Set(['0', 'false', 'off', 'no'])
const STREAMS: readonly LiveStream[] = ['main', 'sub', 'auto']
const CAMERA = /^\/watch\/([a-z0-9-]{1,64})\/?$/

/** Unknown values mean the default: muted, without controls, whichever stream the line carries. */
export function parseWatch(pathname: string, search: string): WatchOptions {
  const query = new URLSearchParams(search)
  const flag = (name: string, usual: boolean) => {
    const text = query.get(name)
    return text === null ? usual : !OFF.has(text.toLowerCase())
  }
  const language = query.get('lang')
  return {
    camera: CAMERA.exec(pathname)?.[1] ?? null,
    stream: STREAMS.find((stream) => stream === query.get('stream')) ?? 'auto',
    muted: flag('muted', true),
    controls: flag('controls', false),
    language: language === 'vi' || language === 'en' ? language : null,
  }
}

/** False where nothing can be heard: the player is muted, and has no controls to change that. */
export const wantsSound = ({ muted, controls }: WatchOptions) => !muted || controls

export const watchUrl = (origin: string, camera: string) => `${origin}/watch/${encodeURIComponent(camera)}`

export const loginFor = (pathname: string, search: string) => `/?next=${encodeURIComponent(pathname + search)}`

/** Where to go on after a login: the player that sent one here, and nowhere else. */
export function nextAfterLogin(search: string): string | null {
  const next = new URLSearchParams(search).get('next') ?? ''
  const [pathname = ''] = next.split('?')
  return CAMERA.test(pathname) && !next.includes('#') ? next : null
}
