/** What the HTTP API speaks (docs/api.md). Times are ISO 8601 UTC strings. */

export type StreamName = 'main' | 'sub'
/** What one may watch live: `auto` is main or sub, whichever the line carries. */
export type LiveStream = StreamName | 'auto'
export type RecordStream = StreamName | 'both'
/** How media may come from a camera; empty for the system's default. */
export type CameraTransport = '' | 'auto' | 'tcp' | 'udp'
export type PlanMode = 'continuous' | 'schedule' | 'event' | 'off'
export type RecordAudio = 'policy' | 'on' | 'off'
export type StreamState = 'live' | 'connecting' | 'retrying' | 'idle' | 'off'
export type RecordingState = 'recording' | 'waiting' | 'failed' | 'off'
export type Permission =
  | 'camera.view'
  | 'camera.manage'
  | 'live.view'
  | 'footage.view'
  | 'footage.export'
  | 'event.view'
  | 'ptz.control'
  | 'grant.manage'
  | 'system.read'
  | 'access_log.read'
  | 'hold.manage'

export interface Reason {
  code: string
  sentence: string
  sentence_vi?: string
}

export interface RecordingStatus {
  state: RecordingState
  reason: Reason | null
  received_until: string | null
  durable_until: string | null
  stored_until: string | null
  indexed_until: string | null
}

export interface Stream {
  state: StreamState
  reason: Reason | null
  since: string | null
  video: { codec: string; width: number; height: number } | null
  audio: { codec: string } | null
  /** How its media comes from the camera now: tcp, udp or tls. */
  transport: string | null
  viewers: number
  recording: RecordingStatus | null
}

export interface MediaProfile {
  token: string
  name: string
  codec: string
  width: number
  height: number
  rate: number
  bitrate_kbps: number
  audio: string | null
  url: string
  snapshot_url: string
  gop_units: number
}

export interface Profile {
  manufacturer: string
  model: string
  firmware: string
  clock_offset_s: number | null
  main: MediaProfile
  sub: MediaProfile | null
  explanation: string
  explanation_vi?: string
  clock_uncertainty_s: number
  warnings: Reason[]
}

/** What is known of a camera beside its streams; null for one that is not reached over ONVIF. */
export interface DeviceState {
  clock: {
    state: 'ok' | 'alarm' | 'unknown'
    reason: Reason | null
    offset_s: number | null
    uncertainty_s: number | null
    read_at: string | null
  }
  services: Record<string, ServiceState>
}

export interface ServiceState {
  state: string
  reason: Reason | null
}

export interface RetentionPolicy {
  max_age_days: number | null
  max_size_bytes: number | null
  /** Days by kind of event. */
  keep_events: Partial<Record<EventKind, number>>
  event_before_s: number | null
  event_after_s: number | null
}

export interface Retention extends RetentionPolicy {
  effective: {
    max_age_days: number
    max_size_bytes: number
    keep_events: Partial<Record<EventKind, number>>
    event_before_s: number
    event_after_s: number
    locked_days: number
  }
  /** `camera:ID`, `place:ID` or `settings`, by the name of the bound; of events `event.KIND`. */
  sources: Record<string, string>
}

export interface RetentionCounts {
  objects: number
  size_bytes: number
  hours: number
  oldest: string | null
  newest: string | null
  held: { objects: number; size_bytes: number }
  complete: boolean
}

export interface RetentionPreview extends RetentionCounts {
  cameras: (RetentionCounts & { camera: string })[]
}

export interface Place {
  id: string
  parent: string | null
  level: string
  name: string
}

export interface NewHold {
  start: string
  end: string
  reason: string
  case_number: string | null
  until: string | null
}

export interface Hold extends NewHold {
  id: number
  camera: string
  placed_by: string
  placed_at: string
  active: boolean
  released_at: string | null
  released_by: string | null
  release_reason: string | null
  protects?: { objects: number; size_bytes: number }
}

export interface Receipt {
  id: number
  kind: string
  node: string
  made_at: string
  cameras: number
  objects: number
  size_bytes: number
  keys: number
  last_backup_expires_at: string | null
  sentence: string
}

/** When a camera is recorded; what belongs to other modes is left out. */
export interface RecordingPlan {
  mode: PlanMode
  time_zone?: string
  spans?: { days: string[]; from: string; to: string }[]
  kinds?: EventKind[]
  before_s?: number
  after_s?: number
}

/** Version 0, by nobody: in service from before anybody was asked. */
export interface Attestation {
  version: number
  by: string | null
  at: string
}

export interface AttestationText {
  version: number
  text: string
  text_vi: string
}

export interface Camera {
  id: string
  name: string
  kind: string
  address: string
  place: string
  origin: string
  enabled: boolean
  recording: RecordingPlan
  record_audio: RecordAudio
  audio_recorded: boolean
  attestation: Attestation | null
  transport: CameraTransport | null
  tls_fingerprint: string | null
  record_stream: RecordStream
  grid_stream: StreamName
  permissions: Permission[]
  streams: { main: Stream; sub?: Stream | null }
  profile: Profile | null
  device: DeviceState | null
}

export interface NewCamera {
  id?: string
  name: string
  address: string
  sub_address?: string
  username?: string
  password?: string
  place?: string
  recording?: RecordingPlan
  record_audio?: RecordAudio
  /** The version of the text that is attested. */
  attested?: number
  transport?: CameraTransport
  tls_fingerprint?: string
  record_stream?: RecordStream
  grid_stream?: StreamName
}

type Changeable = 'name' | 'enabled' | 'recording' | 'record_audio' | 'record_stream' | 'grid_stream'

export type CameraChanges = Partial<Pick<Camera, Changeable>> & {
  username?: string
  password?: string
  /** Empty texts take a setting away. */
  transport?: CameraTransport
  tls_fingerprint?: string
}

export interface Device {
  address: string
  name: string
  model: string
}

export type Verdict = 'eligible' | 'substream_only' | 'not_eligible'

/** How far a survey is; the counts of verdicts add up to `done`. */
export interface NewExport {
  cameras: string[]
  stream: StreamName
  start: string
  end: string
  purpose: string
}

/** Footage taken out with proof; `size_bytes` once it can be fetched. */
export interface Export extends NewExport {
  id: string
  state: 'running' | 'ready' | 'cancelled' | 'failed'
  started_at: string
  ended_at: string | null
  done_bytes: number
  total_bytes: number
  size_bytes: number | null
  entry: number
  error: Reason | null
}

export interface Survey {
  id: string
  state: 'running' | 'done' | 'cancelled' | 'failed'
  started_at: string
  ended_at: string | null
  revision: number
  seconds: number
  devices: number
  done: number
  eligible: number
  substream_only: number
  not_eligible: number
}

/** What was measured; `measured_s` 0: what the camera declares. */
export interface SurveyStream {
  profile: string
  codec: string
  width: number
  height: number
  rate: number
  bitrate_kbps: number
  keyframe_interval_s: number | null
  audio: string
  packets: number
  lost_packets: number
  measured_s: number
  reason: Reason | null
}

export interface SurveyRow {
  row: number
  address: string
  name: string
  place: string
  site: string
  state: 'waiting' | 'reading' | 'queued' | 'measuring' | 'done' | 'cancelled'
  verdict: Verdict | null
  reason: Reason | null
  remarks: Reason[]
  manufacturer: string
  model: string
  clock: { offset_s: number; uncertainty_s: number } | null
  streams: { main: SurveyStream | null; sub: SurveyStream | null }
}

/** Either `addresses` or `table` (CSV). */
export interface NewSurvey {
  addresses?: string
  table?: string
  username?: string
  password?: string
}

export interface Grant {
  role: string
  place: string
  purpose: string | null
  ends_at: string | null
}

export interface Session {
  principal: { id: string | number; username: string }
  permissions: Permission[]
  grants: Grant[]
}

export interface Span {
  start: string
  end: string
}

export interface Gap extends Span {
  cause: string
  sentence: string
  sentence_vi?: string
  /** Of several that are told as one: how many, and how much is missing by all. */
  count?: number
  missing_s?: number
}

export interface Timeline extends Span {
  coverage: Span[]
  gaps: Gap[]
  holds: Span[]
}

export type EventKind = 'motion' | 'tamper' | 'digital_input' | 'storage'

/** A state of a camera that began or ended; `at` is server time. */
export interface CameraEvent {
  id: number
  at: string
  kind: EventKind
  active: boolean
  source: string
  camera_at: string | null
}

export interface EventsPage {
  events: CameraEvent[]
  more: boolean
}

interface PtzAxes {
  pan_tilt: boolean
  zoom: boolean
}

export type PtzMoves = Partial<Record<'continuous' | 'relative' | 'absolute', PtzAxes>>

/** Whoever holds a camera, and until when nobody else may move it. */
export interface PtzLock {
  username: string
  until: string
}

export interface PtzState {
  moves: PtzMoves
  hold_s: number
  lock: PtzLock | null
}

export type PtzCommand =
  | { move: 'continuous' | 'relative'; pan?: number; tilt?: number; zoom?: number }
  | { move: 'preset'; preset: string }
  | { move: 'stop' }

export interface PtzPreset {
  preset: string
  name: string
}

export interface AccessLogEntry {
  entry: number
  at: string
  username: string | null
  remote: string | null
  action: string
  subject: string | null
  detail: unknown
}

export interface AccessLogPage {
  entries: AccessLogEntry[]
  head: { entry: number; hash: string } | null
}

/** A JSON object whose members differ between versions of the server. */
export interface Facts {
  [name: string]: unknown
}

export interface RtspLogin {
  id: string
  /** Empty where the node that answers is not the one that made it. */
  username: string
  name: string
  /** Null: every camera of the account. */
  camera: string | null
  created_at: string
  expires_at: string | null
}

/** Where RTSP is taken; a port of 0 is off. */
export interface RtspDoor {
  port: number
  tls_port: number
  local_only: boolean
}

export interface RtspLogins {
  rtsp_logins: RtspLogin[]
  rtsp: RtspDoor
}

export interface RtspLoginWish {
  name: string
  camera: string | null
  expires_at: string | null
}

/** Shown this once. */
export interface NewRtspLogin {
  username: string
  password: string
  name: string
  expires_at: string | null
}

/** A URL that needs no login: `idle_s` after its last use it is gone, and `most_s` after it was made. */
export interface HlsToken {
  url: string
  idle_s: number
  most_s: number
}
