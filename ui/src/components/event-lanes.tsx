/** What happened, under the timeline: a lane for each kind, in the time scale of the footage above. */
import { EVENT_KINDS, type Occurrence, occurrenceNear, spanOf } from '../events'
import { formatDuration, formatTime } from '../format'
import { useTexts } from '../i18n'
import { type View, merge, toX } from '../timeline'

const LANE_PX = 9
const MARK_PX = 6
const LEAST_MARK_PX = 3
const HIT_PX = 5
export const LANES_HEIGHT = LANE_PX * EVENT_KINDS.length + 2

interface EventLanesProps {
  occurrences: Occurrence[]
  view: View
  day: View
  nowMs: number
  width: number
  top: number
}

export function EventLanes(props: EventLanesProps) {
  return (
    <g transform={`translate(0 ${props.top})`}>
      {EVENT_KINDS.map((kind, lane) => (
        <g key={kind} transform={`translate(0 ${lane * LANE_PX})`}>
          <rect class="event-lane" width={props.width} height={MARK_PX} />
          <Marks {...props} occurrences={props.occurrences.filter((one) => one.kind === kind)} />
        </g>
      ))}
    </g>
  )
}

function Marks({ occurrences, view, day, nowMs, width }: EventLanesProps) {
  const shown = occurrences
    .map((one) => ({ ...spanOf(one, day, nowMs), one }))
    .filter((span) => span.endMs >= view.startMs && span.startMs <= view.endMs)
  const pixelMs = (view.endMs - view.startMs) / Math.max(1, width)
  const going = shown.filter(({ one }) => one.endedMs === null)
  const kind = occurrences[0]?.kind
  return (
    <>
      {merge(shown, LEAST_MARK_PX * pixelMs).map(({ startMs, endMs }) => {
        const left = Math.max(-1, toX(view, width, startMs))
        const right = Math.min(width + 1, toX(view, width, endMs))
        const length = Math.max(LEAST_MARK_PX, right - left)
        return (
          <rect
            key={startMs}
            class={`event-mark event-${kind}`}
            x={left}
            width={length}
            height={MARK_PX}
            data-testid="event-mark"
            data-kind={kind}
            data-start={startMs}
          />
        )
      })}
      {going.map(({ one, endMs }) => (
        // what goes on has an open end
        <circle
          key={one.key}
          class={`event-going event-${kind}`}
          cx={toX(view, width, endMs)}
          cy={MARK_PX / 2}
          r={MARK_PX / 2 + 1}
          data-testid="event-going"
          data-kind={kind}
        />
      ))}
    </>
  )
}

/** The occurrence at a point of the lanes, null between them. */
export function occurrenceAt(
  occurrences: readonly Occurrence[],
  at: { x: number; y: number },
  view: View,
  width: number,
  day: View,
  nowMs: number,
): Occurrence | null {
  const kind = EVENT_KINDS[Math.floor(at.y / LANE_PX)]
  if (at.y < 0 || !kind) return null
  const pixelMs = (view.endMs - view.startMs) / Math.max(1, width)
  const lane = occurrences.filter((one) => one.kind === kind)
  return occurrenceNear(lane, view.startMs + at.x * pixelMs, HIT_PX * pixelMs, day, nowMs)
}

/** One occurrence in words: of what kind, whence, from when to when. */
export function EventText({ occurrence, nowMs }: { occurrence: Occurrence; nowMs: number }) {
  const { t, locale } = useTexts()
  const { kind, source, beganMs, endedMs } = occurrence
  const from = beganMs === null ? t('event.earlier') : formatTime(beganMs, locale)
  const to = endedMs === null ? t('event.goesOn') : formatTime(endedMs, locale)
  const lengthS = beganMs === null ? null : ((endedMs ?? nowMs) - beganMs) / 1000
  return (
    <>
      <span>
        {t(`event.kind.${kind}`)} {source && <span class="fine">{source}</span>}
      </span>
      <span class="fine">
        {from} – {to}
        {lengthS !== null && lengthS >= 0 && `, ${formatDuration(lengthS, locale)}`}
      </span>
    </>
  )
}
