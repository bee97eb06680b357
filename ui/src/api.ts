/** The HTTP API of the server: one function a route, problem details as ApiError. */
import type {
  AccessLogPage,
  AttestationText,
  Camera,
  CameraChanges,
  Device,
  EventsPage,
  Export,
  Facts,
  HlsToken,
  Hold,
  LiveStream,
  NewCamera,
  NewExport,
  NewHold,
  NewRtspLogin,
  NewSurvey,
  Place,
  Profile,
  PtzCommand,
  PtzLock,
  PtzPreset,
  PtzState,
  Receipt,
  Retention,
  RetentionPolicy,
  RetentionPreview,
  RtspLogins,
  RtspLoginWish,
  Session,
  StreamName,
  Survey,
  SurveyRow,
  Timeline,
} from './types'

const TIMEOUT_MS = 15_000
/** Looking at a camera takes several round trips to it, each with a time limit of its own on the server. */
const CAMERA_TIMEOUT_MS = 60_000
/** Few enough that the server opens them between two pictures. */
const EVENTS_A_PAGE = 500

/** A problem detail (RFC 9457), or `network` where no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly detailVi: string | null = null,
    readonly retryAfterS: number | null = null,
  ) {
    super(detail)
  }
}

type Listener = () => void
const unauthenticatedListeners = new Set<Listener>()

/** Calls `listener` whenever the server no longer knows this session; answers a function that stops it. */
export function onUnauthenticated(listener: Listener): Listener {
  unauthenticatedListeners.add(listener)
  return () => unauthenticatedListeners.delete(listener)
}

interface RequestOptions {
  body?: unknown
  signal?: AbortSignal | undefined
  timeoutMs?: number
  /** A 401 that means "wrong password" rather than "session ended". */
  quiet401?: boolean
  /** Sent even where the page goes away right after. */
  keepalive?: boolean
}

async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const init: RequestInit = { method, headers: { Accept: 'application/json' }, keepalive: options.keepalive ?? false }
  if (options.body !== undefined) {
    init.body = JSON.stringify(options.body)
    init.headers = { ...init.headers, 'Content-Type': 'application/json' }
  }
  const response = await send(path, init, options.timeoutMs ?? TIMEOUT_MS, options.signal, options.quiet401)
  return (response.status === 204 ? undefined : await response.json()) as T
}

/** `fetch` that throws ApiError for everything but success; aborts pass through as they are. */
export async function send(
  path: string | URL,
  init: RequestInit,
  timeoutMs: number,
  signal?: AbortSignal,
  quiet401 = false,
): Promise<Response> {
  const timeout = AbortSignal.timeout(timeoutMs)
  const either = signal ? AbortSignal.any([signal, timeout]) : timeout
  let response: Response
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init, signal: either })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError(0, 'network', String(error))
  }
  if (response.ok) return response
  const problem = await readProblem(response)
  if (problem.status === 401 && !quiet401) for (const listener of unauthenticatedListeners) listener()
  throw problem
}

async function readProblem(response: Response): Promise<ApiError> {
  let body: Facts = {}
  try {
    body = (await response.json()) as Facts
  } catch {
    // a proxy in between may answer with something else than a problem
  }
  const text = (name: string) => (typeof body[name] === 'string' ? (body[name] as string) : null)
  const retryAfter = Number.parseFloat(response.headers.get('Retry-After') ?? '')
  return new ApiError(
    response.status,
    text('code') ?? `http_${response.status}`,
    text('detail') ?? text('title') ?? `HTTP ${response.status}`,
    text('detail_vi'),
    Number.isFinite(retryAfter) ? retryAfter : null,
  )
}

const survey = (id: string) => `/api/v1/surveys/${encodeURIComponent(id)}`
const exportOf = (id: string) => `/api/v1/exports/${encodeURIComponent(id)}`
const camera = (id: string) => `/api/v1/cameras/${encodeURIComponent(id)}`
/** A preview may walk through all footage of a place. */
const PREVIEW_TIMEOUT_MS = 120_000

/** Whose retention policy it is. */
export interface PolicySubject {
  kind: 'camera' | 'place'
  id: string
}

const policyPath = ({ kind, id }: PolicySubject) =>
  kind === 'camera' ? camera(id) : `/api/v1/places/${encodeURIComponent(id)}`

export const api = {
  session: (signal?: AbortSignal) => request<Session>('GET', '/api/v1/session', { signal, quiet401: true }),
  login: (username: string, password: string) =>
    request<Session>('POST', '/api/v1/session', { body: { username, password }, quiet401: true }),
  logout: () => request<void>('DELETE', '/api/v1/session', { quiet401: true }),
  acceptInvite: (token: string, username: string, password: string) =>
    request<unknown>('POST', '/api/v1/invite', { body: { token, username, password }, quiet401: true }),

  cameras: async (signal?: AbortSignal) =>
    (await request<{ cameras: Camera[] }>('GET', '/api/v1/cameras', { signal })).cameras,
  addCamera: (body: NewCamera, signal?: AbortSignal) =>
    request<Camera>('POST', '/api/v1/cameras', { body, signal, timeoutMs: CAMERA_TIMEOUT_MS }),
  probeCamera: async (body: NewCamera, signal?: AbortSignal) =>
    (
      await request<{ profile: Profile }>('POST', '/api/v1/cameras/probe', {
        body,
        signal,
        timeoutMs: CAMERA_TIMEOUT_MS,
      })
    ).profile,
  changeCamera: (id: string, changes: CameraChanges) =>
    request<Camera>('PATCH', camera(id), { body: changes, timeoutMs: CAMERA_TIMEOUT_MS }),
  removeCamera: (id: string) => request<void>('DELETE', camera(id)),
  discover: async (signal?: AbortSignal) =>
    (await request<{ devices: Device[] }>('GET', '/api/v1/discover', { signal })).devices,
  surveys: async (signal?: AbortSignal) =>
    (await request<{ surveys: Survey[] }>('GET', '/api/v1/surveys', { signal })).surveys,
  startSurvey: (body: NewSurvey) => request<Survey>('POST', '/api/v1/surveys', { body }),
  /** The rows that changed after revision `since`; 0: all. */
  survey: (id: string, since: number, signal?: AbortSignal) =>
    request<Survey & { rows: SurveyRow[] }>('GET', `${survey(id)}?since=${since}`, { signal }),
  cancelSurvey: (id: string) => request<Survey>('POST', `${survey(id)}/cancel`),
  attestationText: (signal?: AbortSignal) =>
    request<AttestationText>('GET', '/api/v1/attestation', signal ? { signal } : {}),
  attest: (id: string, version: number) =>
    request<Camera>('POST', `${camera(id)}/attestation`, { body: { version } }),
  places: async (signal?: AbortSignal) =>
    (await request<{ places: Place[] }>('GET', '/api/v1/places', { signal })).places,
  /** Of a camera or a place; so are the next two. */
  retention: (of: PolicySubject, signal?: AbortSignal) =>
    request<Retention>('GET', `${policyPath(of)}/retention`, { signal }),
  setRetention: (of: PolicySubject, policy: RetentionPolicy) =>
    request<Retention>('PUT', `${policyPath(of)}/retention`, { body: policy }),
  previewRetention: (of: PolicySubject, policy: RetentionPolicy) =>
    request<RetentionPreview>('POST', `${policyPath(of)}/retention/preview`, {
      body: policy,
      timeoutMs: PREVIEW_TIMEOUT_MS,
    }),
  holds: async (active: boolean, before: number | null, signal?: AbortSignal) =>
    (
      await request<{ holds: Hold[] }>(
        'GET',
        `/api/v1/holds?limit=100${active ? '&active=1' : ''}${before === null ? '' : `&before=${before}`}`,
        { signal },
      )
    ).holds,
  placeHold: (id: string, body: NewHold) => request<Hold>('POST', `${camera(id)}/holds`, { body }),
  releaseHold: (id: number, reason: string) => request<Hold>('POST', `/api/v1/holds/${id}/release`, { body: { reason } }),
  receipts: async (before: number | null, signal?: AbortSignal) =>
    (
      await request<{ receipts: Receipt[] }>('GET', `/api/v1/receipts${before === null ? '' : `?before=${before}`}`, {
        signal,
      })
    ).receipts,
  /** What is finer than `resolutionS` is told as one; 0: all there is. */
  timeline: (
    id: string,
    stream: StreamName,
    startMs: number,
    endMs: number,
    signal?: AbortSignal,
    resolutionS = 0,
  ) => {
    const coarse = resolutionS > 0 ? `&resolution=${resolutionS}` : ''
    const path = `${camera(id)}/timeline?${spanQuery(startMs, endMs)}&stream=${stream}${coarse}`
    return request<Timeline>('GET', path, { signal })
  },
  exports: async (signal?: AbortSignal) =>
    (await request<{ exports: Export[] }>('GET', '/api/v1/exports', { signal })).exports,
  startExport: (body: NewExport) => request<Export>('POST', '/api/v1/exports', { body }),
  removeExport: (id: string) => request<void>('DELETE', exportOf(id)),
  /** The events of a span that were kept after the one with the id `after`, in that order. */
  events: (id: string, startMs: number, endMs: number, after: number, signal?: AbortSignal) =>
    request<EventsPage>(
      'GET',
      `${camera(id)}/events?${spanQuery(startMs, endMs)}&limit=${EVENTS_A_PAGE}&after=${after}`,
      { signal },
    ),

  ptz: (id: string, signal?: AbortSignal) => request<PtzState>('GET', `${camera(id)}/ptz`, { signal }),
  movePtz: (id: string, command: PtzCommand) =>
    request<{ lock: PtzLock }>('POST', `${camera(id)}/ptz`, { body: command, keepalive: command.move === 'stop' }),
  releasePtz: (id: string) => request<void>('DELETE', `${camera(id)}/ptz/lock`),
  ptzPresets: async (id: string, signal?: AbortSignal) =>
    (await request<{ presets: PtzPreset[] }>('GET', `${camera(id)}/ptz/presets`, { signal })).presets,
  /** Keeps where the camera looks now: as a new preset, or in place of the one named. */
  keepPtzPreset: (id: string, name: string, preset: string | null) =>
    request<PtzPreset>('POST', `${camera(id)}/ptz/presets`, { body: preset === null ? { name } : { name, preset } }),

  accessLog: (limit: number, before: number | null, signal?: AbortSignal) =>
    request<AccessLogPage>(
      'GET',
      `/api/v1/access-log?limit=${limit}${before === null ? '' : `&before=${before}`}`,
      { signal },
    ),
  makeHlsToken: (id: string) => request<HlsToken>('POST', `${camera(id)}/hls-token`),
  rtspLogins: (signal?: AbortSignal) => request<RtspLogins>('GET', '/api/v1/rtsp-logins', { signal }),
  makeRtspLogin: (body: RtspLoginWish) => request<NewRtspLogin>('POST', '/api/v1/rtsp-logins', { body }),
  revokeRtspLogin: (id: string) => request<void>('DELETE', `/api/v1/rtsp-logins/${encodeURIComponent(id)}`),
  status: (signal?: AbortSignal) => request<Facts>('GET', '/api/v1/status', { signal }),
}

/** `start` and `end` in the form every route with a span takes. */
export function spanQuery(startMs: number, endMs: number): string {
  const iso = (ms: number) => encodeURIComponent(new Date(ms).toISOString())
  return `start=${iso(startMs)}&end=${iso(endMs)}`
}

export const receiptUrl = (id: number) => `/api/v1/receipts/${id}`
export const surveyTableUrl = (id: string) => `${survey(id)}/report.csv`
export const exportUrl = (id: string) => `${exportOf(id)}/download`
export const whepUrl = (id: string, stream: LiveStream) => `/whep/${encodeURIComponent(id)}?stream=${stream}`
/** A still picture of a stream, at most `width` wide. The server keeps one for each width that is asked for. */
export const snapshotUrl = (id: string, stream: StreamName, width: number) =>
  `${camera(id)}/snapshot.jpg?stream=${stream}&width=${width}`
export const liveHlsUrl = (id: string, stream: LiveStream = 'auto') =>
  `/hls/${encodeURIComponent(id)}/index.m3u8${stream === 'auto' ? '' : `?stream=${stream}`}`
/** A small picture of what was recorded at a time. */
export const thumbnailUrl = (id: string, stream: StreamName, atMs: number) =>
  `/playback/${encodeURIComponent(id)}/thumbnails?at=${new Date(atMs).toISOString()}&stream=${stream}&width=320`

/** `keys`: keyframes alone, for speeds at which nobody could take all pictures. */
export const playbackUrl = (id: string, stream: StreamName, startMs: number, endMs: number, keys = false) =>
  `/playback/${encodeURIComponent(id)}/index.m3u8?${spanQuery(startMs, endMs)}&stream=${stream}` +
  `&codec=${playsH265() ? 'original' : 'h264'}${keys ? '&pictures=keys' : ''}`

/** Where the browser has no decoder for it, the server makes H.264 of what was recorded as H.265. */
const playsH265 = () => globalThis.MediaSource?.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"') ?? false
