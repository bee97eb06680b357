/** A day of one camera: where footage is, where not and why, and what happened; click to play, scroll to zoom, drag to move. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Footage, GapMs } from '../footage'
import type { Occurrence } from '../events'
import { formatDateTime, formatDuration, formatTime } from '../format'
import { useTexts } from '../i18n'
import type { MessageKey } from '../texts-vi'
import {
  type CauseKind,
  type SpanMs,
  type View,
  causeKind,
  merge,
  pan,
  spanAt,
  ticks,
  toMs,
  toX,
  zoom,
} from '../timeline'
import { EventLanes, EventText, LANES_HEIGHT, occurrenceAt } from './event-lanes'
import { Thumbnail } from './thumbnail'

const HEIGHT = 84
const TRACK_TOP = 30
const TRACK_HEIGHT = 38
/** Under the track, or in its place. */
const LANES_TOP = { footage: 78, alone: TRACK_TOP + 4 }
const LEAST_GAP_PX = 3
const BESIDE_TOP = TRACK_TOP + TRACK_HEIGHT + 10
const BESIDE_PX = 18
const LEAST_COVER_PX = 1
const DRAG_PX = 4
const STEP_MS = 10_000

interface TimelineViewProps {
  bounds: View
  view: View
  footage: Footage | null
  /** False where this person may not play footage: then there is nothing to say of it, and nowhere to go. */
  canSeek: boolean
  /** Null where this person may not know of events. */
  occurrences: Occurrence[] | null
  nowMs: number
  playheadMs: number
  live: boolean
  onSeek: (ms: number) => void
  onView: (view: View) => void
  /** Where a small picture of a time is; null where this person may see none. */
  thumbnail: ((ms: number) => string) | null
  /** Other cameras that are looked at together with this one: a narrow track each, below. */
  beside?: readonly Beside[]
}

export interface Beside {
  name: string
  footage: Footage | null
}

export function TimelineView(props: TimelineViewProps) {
  const { t, locale } = useTexts()
  const box = useRef<HTMLDivElement>(null)
  const width = useWidth(box)
  const [hover, setHover] = useState<Point | null>(null)
  const hoverX = hover?.x ?? null
  const beside = props.beside ?? []
  const height = props.occurrences ? lanesTop(props) + LANES_HEIGHT : HEIGHT + BESIDE_PX * beside.length
  const latest = useRef(props)
  latest.current = props
  useWheelZoom(box, latest)
  const pointer = usePointer(box, latest, setHover)
  return (
    <div
      ref={box}
      class={props.canSeek ? 'timeline' : 'timeline timeline-still'}
      style={{ height: `${height}px` }}
      tabIndex={0}
      {...(props.canSeek ? slider(props, t('timeline.slider'), locale) : { role: 'img', 'aria-label': t('timeline.title') })}
      data-testid="timeline"
      data-start={props.view.startMs}
      data-end={props.view.endMs}
      data-playhead={Math.round(props.playheadMs)}
      onKeyDown={(event) => onKey(event, props)}
      {...pointer}
    >
      <svg width={width} height={height} aria-hidden="true">
        <Hatches />
        <Ticks view={props.view} width={width} locale={locale} />
        {props.canSeek && <Track {...props} width={width} />}
        {beside.map((one, index) => (
          <BesideTrack key={one.name} {...props} one={one} top={BESIDE_TOP + index * BESIDE_PX} width={width} />
        ))}
        {props.occurrences && (
          <EventLanes {...props} day={props.bounds} occurrences={props.occurrences} top={lanesTop(props)} width={width} />
        )}
        <Playhead {...props} width={width} height={height} />
        {hoverX !== null && <line class="hover-line" x1={hoverX} x2={hoverX} y1={TRACK_TOP - 6} y2={height} />}
      </svg>
      {hover && width > 0 && <Tooltip {...props} at={hover} width={width} />}
    </div>
  )
}

const lanesTop = ({ canSeek }: TimelineViewProps) => (canSeek ? LANES_TOP.footage : LANES_TOP.alone)

/** Where footage is, where not, and the time to come. */
function Track(props: TimelineViewProps & { width: number }) {
  const { width, footage, view } = props
  return (
    <g>
      <rect class="track" x={0} y={TRACK_TOP} width={width} height={TRACK_HEIGHT} />
      {footage && <Spans footage={footage} view={view} width={width} />}
      <Future {...props} />
      <rect class="frame" x={0.5} y={TRACK_TOP + 0.5} width={Math.max(0, width - 1)} height={TRACK_HEIGHT - 1} />
    </g>
  )
}

function BesideTrack(props: TimelineViewProps & { one: Beside; top: number; width: number }) {
  const { one, top, width, view } = props
  const place = { top, height: BESIDE_PX - 4 }
  return (
    <g>
      <rect class="track" x={0} y={top} width={width} height={place.height} />
      {one.footage && <Spans footage={one.footage} view={view} width={width} place={place} />}
      <Future {...props} place={place} />
      <text class="beside-name" x={6} y={top + place.height - 3}>
        {one.name}
      </text>
    </g>
  )
}

function slider({ bounds, nowMs, playheadMs }: TimelineViewProps, label: string, locale: string) {
  return {
    role: 'slider' as const,
    'aria-label': label,
    'aria-valuemin': Math.round(bounds.startMs / 1000),
    'aria-valuemax': Math.round(Math.min(bounds.endMs, nowMs) / 1000),
    'aria-valuenow': Math.round(playheadMs / 1000),
    'aria-valuetext': formatDateTime(playheadMs, locale),
  }
}

/** The occurrence drawn at a point of the timeline. */
function occurrenceUnder(props: TimelineViewProps, { x, y }: Point, width: number): Occurrence | null {
  const { occurrences, view, bounds, nowMs } = props
  return occurrences && occurrenceAt(occurrences, { x, y: y - lanesTop(props) }, view, width, bounds, nowMs)
}

function useWidth(box: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    if (!box.current) return undefined
    const observer = new ResizeObserver((entries) => setWidth(entries[0]?.contentRect.width ?? 0))
    // the observer tells the width after layout; asking for it here would force one in the middle of a join
    observer.observe(box.current)
    return () => observer.disconnect()
  }, [])
  return width
}

type Latest = { current: TimelineViewProps }

interface Point {
  x: number
  y: number
}

function useWheelZoom(box: { current: HTMLElement | null }, latest: Latest): void {
  useEffect(() => {
    const element = box.current
    if (!element) return undefined
    const onWheel = (event: WheelEvent) => {
      event.preventDefault()
      const { view, bounds, onView } = latest.current
      const length = view.endMs - view.startMs
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        return onView(pan(view, (event.deltaX / element.clientWidth) * length, bounds))
      }
      const anchorMs = toMs(view, element.clientWidth, event.clientX - element.getBoundingClientRect().left)
      onView(zoom(view, Math.exp(Math.sign(event.deltaY) * 0.25), anchorMs, bounds))
    }
    element.addEventListener('wheel', onWheel, { passive: false })
    return () => element.removeEventListener('wheel', onWheel)
  }, [])
}

/** A press that moves is a drag of the view, one that does not is a click on a time, or on what began then. */
function usePointer(box: { current: HTMLElement | null }, latest: Latest, setHover: (at: Point | null) => void) {
  const drag = useRef<{ fromX: number; view: View; moved: boolean } | null>(null)
  const pointOf = (event: PointerEvent): Point => {
    const corner = box.current?.getBoundingClientRect()
    return { x: event.clientX - (corner?.left ?? 0), y: event.clientY - (corner?.top ?? 0) }
  }
  const xOf = (event: PointerEvent) => pointOf(event).x
  const width = () => box.current?.clientWidth ?? 1
  return {
    onPointerDown: (event: PointerEvent) => {
      if (event.button !== 0) return
      drag.current = { fromX: xOf(event), view: latest.current.view, moved: false }
      box.current?.setPointerCapture(event.pointerId)
    },
    onPointerMove: (event: PointerEvent) => {
      const { x, y } = pointOf(event)
      setHover({ x, y })
      const from = drag.current
      if (!from) return
      if (Math.abs(x - from.fromX) > DRAG_PX) from.moved = true
      if (!from.moved) return
      const byMs = ((from.fromX - x) / width()) * (from.view.endMs - from.view.startMs)
      latest.current.onView(pan(from.view, byMs, latest.current.bounds))
    },
    onPointerUp: (event: PointerEvent) => {
      const from = drag.current
      drag.current = null
      if (!from || from.moved) return
      const hit = occurrenceUnder(latest.current, pointOf(event), width())
      latest.current.onSeek(hit?.beganMs ?? toMs(latest.current.view, width(), xOf(event)))
    },
    onPointerCancel: () => void (drag.current = null),
    onPointerLeave: () => setHover(null),
  }
}

function onKey(event: KeyboardEvent, props: TimelineViewProps): void {
  const step = event.shiftKey ? 6 * STEP_MS : STEP_MS
  const zoomBy = (factor: number) => props.onView(zoom(props.view, factor, props.playheadMs, props.bounds))
  const actions: Record<string, () => void> = {
    ArrowLeft: () => props.onSeek(props.playheadMs - step),
    ArrowRight: () => props.onSeek(props.playheadMs + step),
    PageDown: () => props.onSeek(props.playheadMs - 60 * STEP_MS),
    PageUp: () => props.onSeek(props.playheadMs + 60 * STEP_MS),
    '+': () => zoomBy(0.6),
    '=': () => zoomBy(0.6),
    '-': () => zoomBy(1 / 0.6),
  }
  const action = actions[event.key]
  if (!action) return
  event.preventDefault()
  action()
}

const KINDS: readonly CauseKind[] = ['camera', 'server', 'decision', 'starting']

/** Each kind of gap has its own hatching as well as its own colour. */
function Hatches() {
  const turn: Record<CauseKind, number> = { camera: 45, server: -45, decision: 90, starting: 0 }
  return (
    <defs>
      {KINDS.map((kind) => (
        <pattern
          key={kind}
          id={`hatch-${kind}`}
          width={6}
          height={6}
          patternUnits="userSpaceOnUse"
          patternTransform={`rotate(${turn[kind]})`}
        >
          <rect class={`gap-${kind}`} width={6} height={6} />
          <rect class="hatch" width={2} height={6} />
        </pattern>
      ))}
    </defs>
  )
}

function Ticks({ view, width, locale }: { view: View; width: number; locale: string }) {
  if (width === 0) return null
  const found = ticks(view, width)
  const seconds = view.endMs - view.startMs < 20 * 60_000
  return (
    <g>
      {found.map(({ atMs, major }) => {
        const x = toX(view, width, atMs)
        return (
          <g key={atMs}>
            <line class={major ? 'tick tick-major' : 'tick'} x1={x} x2={x} y1={major ? 18 : 24} y2={TRACK_TOP} />
            {major && x > 18 && x < width - 18 && (
              <text class="tick-label" x={x} y={13}>
                {formatTime(atMs, locale, seconds)}
              </text>
            )}
          </g>
        )
      })}
    </g>
  )
}

interface Place {
  top: number
  height: number
}

const TRACK: Place = { top: TRACK_TOP, height: TRACK_HEIGHT }

function Spans(props: { footage: Footage; view: View; width: number; place?: Place }) {
  const { footage, view, width, place = TRACK } = props
  const pixelMs = (view.endMs - view.startMs) / Math.max(1, width)
  const visible = <T extends SpanMs>(spans: T[]) =>
    spans.filter((span) => span.endMs >= view.startMs && span.startMs <= view.endMs)
  return (
    <g>
      {merge(visible(footage.coverage), pixelMs).map((span) => (
        <Bar key={span.startMs} class="covered" span={span} view={view} width={width} place={place} least={LEAST_COVER_PX} />
      ))}
      {visible(footage.gaps).map((gap) => (
        <Bar
          key={`${gap.startMs} ${gap.cause}`}
          class="gap"
          fill={`url(#hatch-${causeKind(gap.cause)})`}
          span={gap}
          view={view}
          width={width}
          place={place}
          least={LEAST_GAP_PX}
          cause={gap.cause}
        />
      ))}
      {merge(visible(footage.holds), pixelMs).map((span) => (
        <Bar key={span.startMs} class="hold" span={span} view={view} width={width} place={place} least={2} thin />
      ))}
    </g>
  )
}

interface BarProps {
  class: string
  span: SpanMs
  view: View
  width: number
  place: Place
  /** Short gaps must not vanish: they are drawn at least this wide. */
  least: number
  fill?: string
  thin?: boolean
  cause?: string
}

function Bar(props: BarProps) {
  const left = Math.max(-1, toX(props.view, props.width, props.span.startMs))
  const right = Math.min(props.width + 1, toX(props.view, props.width, props.span.endMs))
  return (
    <rect
      class={props.class}
      fill={props.fill}
      x={left}
      y={props.thin ? props.place.top + props.place.height + 2 : props.place.top}
      width={Math.max(props.least, right - left)}
      height={props.thin ? 4 : props.place.height}
      data-testid={props.cause ? 'gap' : undefined}
      data-cause={props.cause}
    />
  )
}

function Future({ view, nowMs, width, place = TRACK }: { view: View; nowMs: number; width: number; place?: Place }) {
  const x = Math.max(0, toX(view, width, nowMs))
  if (x >= width) return null
  return <rect class="future" x={x} y={place.top} width={width - x} height={place.height} />
}

function Playhead({ view, playheadMs, live, width, height }: TimelineViewProps & { width: number; height: number }) {
  const x = toX(view, width, playheadMs)
  if (x < -8 || x > width + 8) return null
  return (
    <g class={live ? 'playhead playhead-live' : 'playhead'} transform={`translate(${x.toFixed(2)} 0)`}>
      <line x1={0} x2={0} y1={TRACK_TOP - 4} y2={height - 6} />
      <path d={`M-6 ${TRACK_TOP - 12}h12l-6 9z`} />
    </g>
  )
}

const KIND_TEXT: Record<CauseKind, MessageKey> = {
  camera: 'timeline.gapCamera',
  server: 'timeline.gapServer',
  decision: 'timeline.gapDecision',
  starting: 'timeline.gapStarting',
}

function Tooltip(props: TimelineViewProps & { at: Point; width: number }) {
  const { t, locale } = useTexts()
  const atMs = toMs(props.view, props.width, props.at.x)
  const occurrence = occurrenceUnder(props, props.at, props.width)
  const slackMs = ((props.view.endMs - props.view.startMs) / props.width) * LEAST_GAP_PX
  const gap = props.footage ? gapNear(props.footage.gaps, atMs, slackMs) : null
  const covered = props.footage !== null && spanAt(props.footage.coverage, atMs) !== null
  const half = 120
  const left = Math.min(Math.max(props.at.x, half), Math.max(half, props.width - half))
  return (
    <div class="tooltip" style={{ left: `${left}px` }} role="status" data-testid="timeline-tooltip">
      {covered && props.thumbnail && <Thumbnail atMs={atMs} url={props.thumbnail} />}
      <strong>{formatTime(atMs, locale)}</strong>
      {occurrence ? (
        <EventText occurrence={occurrence} nowMs={props.nowMs} />
      ) : gap ? (
        <GapText gap={gap} />
      ) : (
        props.canSeek && <span>{t(statusAt(props, atMs))}</span>
      )}
    </div>
  )
}

/** The gap at `atMs`, or the one drawn wider than it is and so under the pointer. */
function gapNear(gaps: readonly GapMs[], atMs: number, slackMs: number): GapMs | null {
  return spanAt(gaps, atMs) ?? spanAt(gaps.map((gap) => ({ ...gap, endMs: gap.endMs + slackMs })), atMs)
}

function GapText({ gap }: { gap: GapMs }) {
  const { t, locale, sentence } = useTexts()
  const from = formatTime(gap.startMs, locale)
  const to = formatTime(gap.endMs, locale)
  return (
    <>
      <span>
        {sentence(gap)} <code class="code">{gap.cause}</code>
      </span>
      <span class="fine">
        {t(KIND_TEXT[causeKind(gap.cause)])}: {from} – {to}, {formatDuration((gap.endMs - gap.startMs) / 1000, locale)}
      </span>
    </>
  )
}

function statusAt({ footage, nowMs }: TimelineViewProps, atMs: number): MessageKey {
  if (atMs > nowMs) return 'timeline.future'
  if (footage && spanAt(footage.holds, atMs)) return 'timeline.hold'
  return footage && spanAt(footage.coverage, atMs) ? 'timeline.recorded' : 'timeline.nothing'
}

export function Legend() {
  const { t } = useTexts()
  return (
    <ul class="legend">
      <li>
        <span class="swatch swatch-covered" aria-hidden="true" />
        {t('timeline.recorded')}
      </li>
      {KINDS.map((kind) => (
        <li key={kind}>
          <span class={`swatch swatch-${kind}`} aria-hidden="true" />
          {t(KIND_TEXT[kind])}
        </li>
      ))}
    </ul>
  )
}
