/** The texts of WHEP beside the offer: STUN/TURN servers, and fragments for an ICE restart. Pure. */

const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+(?:=(?:"(?:[^"\\]|\\.)*"|[^",;\s]*))?)*)/g
const PARAMETER = /;\s*([\w-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*)))?/g

/** The servers that `Link` headers name with rel="ice-server" (RFC 9725, 4.6). */
export function parseIceServers(link: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = []
  for (const [, url = '', rest = ''] of (link ?? '').matchAll(LINK)) {
    const parameters = new Map<string, string>()
    for (const [, name = '', quoted, plain] of rest.matchAll(PARAMETER)) {
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '')
    }
    if (parameters.get('rel') !== 'ice-server' || !/^(stun|turn)s?:/.test(url)) continue
    const username = parameters.get('username')
    const credential = parameters.get('credential')
    servers.push(username !== undefined && credential !== undefined ? { urls: url, username, credential } : { urls: url })
  }
  return servers
}

const ICE_LINE = /^a=ice-(?:ufrag|pwd):.*$/gm

/** The body of a PATCH that restarts ICE (RFC 8840, 9): the offer's new user fragment and password, and no candidate. */
export function restartFragment(offer: string): string {
  const [ufrag = '', pwd = ''] = offer.match(ICE_LINE) ?? []
  return `${ufrag.trim()}\r\n${pwd.trim()}\r\n`
}

/** `answer` with the user fragment, password and candidates of `fragment`, the server's answer to a restart. */
export function restartedAnswer(answer: string, fragment: string): string {
  const lines = fragment.split(/\r?\n/)
  const ice = (name: string) => lines.find((line) => line.startsWith(`a=ice-${name}:`)) ?? ''
  const candidates = [...new Set(lines.filter((line) => line.startsWith('a=candidate:')))]
  const kept = answer
    .replace(/^a=ice-ufrag:.*$/gm, ice('ufrag'))
    .replace(/^a=ice-pwd:.*$/gm, ice('pwd'))
  if (candidates.length === 0) return kept
  return kept
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('a=candidate:'))
    .flatMap((line) => (line.startsWith('a=ice-pwd:') ? [line, ...candidates] : [line]))
    .join('\r\n')
}
