/** Hash routes, and the one real path: /invite/TOKEN, which comes from a link. */
import { useEffect, useState } from 'preact/hooks'

export type Route =
  | { page: 'wall' }
  | { page: 'camera'; id: string; atMs: number | null }
  | { page: 'footage'; ids: string[]; atMs: number | null }
  | { page: 'cameras' }
  | { page: 'survey' }
  | { page: 'exports' }
  | { page: 'access-log' }
  | { page: 'status' }
  | { page: 'retention' }
  | { page: 'other-systems' }
  | { page: 'invite'; token: string }
  | { page: 'unknown' }

export const href = {
  wall: '#/',
  cameras: '#/cameras',
  survey: '#/survey',
  exports: '#/exports',
  accessLog: '#/access-log',
  status: '#/status',
  retention: '#/retention',
  otherSystems: '#/other-systems',
  footage: (ids: readonly string[], atMs: number | null = null) =>
    `#/footage?cameras=${ids.map(encodeURIComponent).join(',')}${atMs === null ? '' : `&at=${new Date(atMs).toISOString()}`}`,
  camera: (id: string, atMs: number | null = null) =>
    `#/camera/${encodeURIComponent(id)}${atMs === null ? '' : `?at=${new Date(atMs).toISOString()}`}`,
}

const PLAIN = ['cameras', 'survey', 'exports', 'access-log', 'status', 'retention', 'other-systems'] as const

/** The route of a location; `hash` begins with `#` or is empty. */
export function parseRoute(pathname: string, hash: string): Route {
  const invite = /^\/invite\/([^/]+)\/?$/.exec(pathname)
  if (invite?.[1]) return { page: 'invite', token: decode(invite[1]) }
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  const [head = '', id] = path.split('/')
  if (head === 'camera' && id) return { page: 'camera', id: decode(id), atMs: parseAt(query) }
  if (head === 'footage') return { page: 'footage', ids: parseIds(query), atMs: parseAt(query) }
  if (head === '' || head === 'login') return { page: 'wall' }
  const found = PLAIN.find((page) => page === head)
  if (found) return { page: found }
  return { page: 'unknown' }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a broken escape is nobody's id, and the page then says so
  }
}

function parseIds(query: string): string[] {
  return (new URLSearchParams(query).get('cameras') ?? '').split(',').filter(Boolean)
}

function parseAt(query: string): number | null {
  const at = new URLSearchParams(query).get('at')
  const ms = at === null ? Number.NaN : Date.parse(at)
  return Number.isFinite(ms) ? ms : null
}

/** `before` where both are the same, so that nothing renders again. */
function same(before: Route, now: Route): Route {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now
}

/** The current route; the component renders again when it changes. */
export function useRoute(): Route {
  const read = () => parseRoute(location.pathname, location.hash)
  const [route, change] = useState(read)
  useEffect(() => {
    const update = () => change((before) => same(before, read()))
    addEventListener('hashchange', update)
    update() // it may have changed since the render
    return () => removeEventListener('hashchange', update)
  }, [])
  return route
}
