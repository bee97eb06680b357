/** The timeline with its day, zoom and legend. */
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Occurrence } from '../events'
import type { DayFootage, Footage } from '../footage'
import { formatDate, formatDuration, formatPercent } from '../format'
import { useTexts } from '../i18n'
import type { DayShare } from '../month'
import { type View, addDays, coveredMs, dayOf, follow, initialView, merge, recentView, zoom } from '../timeline'
import type { StreamName } from '../types'
import { Notice } from './feedback'
import { Icon } from './icon'
import { IconButton } from './icon-button'
import { MonthStrip } from './month-strip'
import { Segmented } from './segmented'
import { type Beside, Legend, TimelineView } from './timeline-view'

/** Twice the time between two readings of the timeline, and some. */
const SETTLING_MS = 12_000
/** Causes that follow on one another (lost, connecting, waiting for a keyframe) are one interruption to a person. */
const SEAM_MS = 200

interface TimelinePanelProps {
  day: View
  onDay: (day: View) => void
  data: DayFootage
  /** False where this person may not play footage. */
  canSeek: boolean
  /** Null where this person may not know of events. */
  occurrences: Occurrence[] | null
  nowMs: number
  playheadMs: number
  live: boolean
  onSeek: (ms: number) => void
  /** Whose footage this is; null where the camera has one stream only. */
  stream: StreamName | null
  onStream: (stream: StreamName) => void
  /** Asks to hold the span that is shown; null where this person may not. */
  onHold: ((span: View) => void) | null
  /** Where a small picture of a time is; null where this person may see none. */
  thumbnail: ((ms: number) => string) | null
  /** The last days; null until they are known. */
  month: DayShare[] | null
  /** Other cameras that are looked at together with this one. */
  beside?: readonly Beside[]
  /** Null where this person may not export footage. */
  onExport: (() => void) | null
}

export function TimelinePanel(props: TimelinePanelProps) {
  const { t, explain } = useTexts()
  const [view, setView] = useView(props)
  const { footage, error } = props.data
  const zoomBy = (factor: number) => setView(zoom(view, factor, anchor(view, props.playheadMs), props.day))
  return (
    <section class="panel timeline-panel" aria-label={t('timeline.title')}>
      <div class="panel-head">
        <DayPicker {...props} />
        {props.canSeek ? <Coverage {...props} /> : <p class="coverage fine">{t('timeline.noRight')}</p>}
        <div class="button-group">
          <StreamChoice {...props} />
          {props.onHold && (
            <button type="button" class="button" data-testid="hold" onClick={() => props.onHold?.(view)}>
              <Icon name="lock" />
              {t('hold.button')}
            </button>
          )}
          <IconButton icon="minus" label={t('timeline.zoomOut')} onClick={() => zoomBy(2)} />
          <IconButton icon="plus" label={t('timeline.zoomIn')} onClick={() => zoomBy(0.5)} />
          <button type="button" class="button" onClick={() => setView(props.day)}>
            {t('timeline.fullDay')}
          </button>
          {props.onExport && (
            <button type="button" class="button" data-testid="export" onClick={props.onExport}>
              <Icon name="download" />
              {t('exports.open')}
            </button>
          )}
        </div>
      </div>
      {props.canSeek && <MonthStrip month={props.month} day={props.day} onDay={props.onDay} />}
      {error !== null && footage === null ? (
        <Notice kind="bad">
          {t('timeline.failed')} {explain(error)}
        </Notice>
      ) : (
        <TimelineView {...props} bounds={props.day} view={view} footage={footage} onView={setView} />
      )}
      <div class="panel-foot">
        {props.canSeek ? <Legend /> : <span />}
        <p class="fine hint">{t(props.canSeek ? 'timeline.hint' : 'timeline.hintStill')}</p>
      </div>
    </section>
  )
}

function StreamChoice({ stream, onStream }: TimelinePanelProps) {
  const { t } = useTexts()
  if (stream === null) return null
  return (
    <Segmented
      label={t('timeline.stream')}
      chosen={stream}
      choices={(['main', 'sub'] as const).map((value) => ({
        value,
        text: t(`cameras.${value}`),
        title: t(`streams.${value}`),
        testId: `footage-${value}`,
      }))}
      onChoose={onStream}
    />
  )
}

function anchor(view: View, playheadMs: number): number {
  const inside = playheadMs >= view.startMs && playheadMs <= view.endMs
  return inside ? playheadMs : (view.startMs + view.endMs) / 2
}

/** What part of the day is shown: fits the footage when it arrives, then the person's choice, and the playhead. */
function useView(props: TimelinePanelProps): [View, (view: View) => void] {
  const { day, data, live, nowMs, playheadMs } = props
  // without footage there is none to fit
  const first = () => (props.canSeek ? day : recentView(day, nowMs))
  const [view, setView] = useState<View>(first)
  const fittedDay = useRef<number | null>(null)
  useEffect(() => {
    if (view.startMs < day.startMs || view.endMs > day.endMs) setView(first())
    if (!data.footage || fittedDay.current === day.startMs) return
    fittedDay.current = day.startMs
    setView(initialView(day, data.footage.coverage, nowMs))
  }, [day.startMs, data.footage !== null])
  useEffect(() => {
    // only a playhead that runs out at the right is followed: one that was scrolled away stays away
    const ranOut = playheadMs > view.endMs - (view.endMs - view.startMs) * 0.02 && playheadMs < view.endMs + 3000
    if (!live && ranOut) setView(follow(view, playheadMs, day))
  }, [Math.floor(playheadMs / 1000), live])
  return [view, setView]
}

function DayPicker({ day, onDay, nowMs }: TimelinePanelProps) {
  const { t, locale } = useTexts()
  const today = dayOf(nowMs)
  const isToday = day.startMs === today.startMs
  return (
    <div class="day-picker">
      <IconButton icon="left" label={t('timeline.previousDay')} onClick={() => onDay(addDays(day.startMs, -1))} />
      <label class="day-input">
        <span class="sr-only">{t('timeline.day')}</span>
        <span aria-hidden="true">{formatDate(day.startMs, locale)}</span>
        <input
          type="date"
          value={isoDay(day.startMs)}
          max={isoDay(today.startMs)}
          onClick={(event) => event.currentTarget.showPicker()}
          onChange={(event) => {
            const [year = 0, month = 0, date = 0] = event.currentTarget.value.split('-').map(Number)
            if (year > 0) onDay(dayOf(new Date(year, month - 1, date, 12).getTime()))
          }}
        />
      </label>
      <IconButton
        icon="right"
        label={t('timeline.nextDay')}
        disabled={isToday}
        onClick={() => onDay(addDays(day.startMs, 1))}
      />
      <button type="button" class="button" disabled={isToday} onClick={() => onDay(today)}>
        {t('timeline.today')}
      </button>
    </div>
  )
}

/** The local date as date inputs want it. */
function isoDay(ms: number): string {
  const date = new Date(ms)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
}

/** How much of the day is kept, counted from its first footage. */
function Coverage({ data, day, nowMs }: TimelinePanelProps) {
  const { t, locale } = useTexts()
  const footage = data.footage
  if (!footage) return <p class="coverage">{'\u00a0'}</p>
  const first = footage.coverage[0]
  if (!first) return <p class="coverage">{t('timeline.empty')}</p>
  const whole = { startMs: first.startMs, endMs: knownUntil(footage, Math.min(day.endMs, nowMs)) }
  const totalMs = Math.max(1, whole.endMs - whole.startMs)
  const covered = Math.min(totalMs, coveredMs(footage.coverage, whole))
  const parameters = {
    covered: formatDuration(covered / 1000, locale),
    total: formatDuration(totalMs / 1000, locale),
    percent: formatPercent(covered / totalMs, locale),
    gaps: merge(footage.gaps.filter((gap) => gap.endMs > whole.startMs), SEAM_MS).length,
  }
  return <p class="coverage">{t('timeline.summary', parameters)}</p>
}

/** What was recorded in the last seconds is on its way to the disk: no gap, and not counted yet. */
function knownUntil(footage: Footage, endMs: number): number {
  const lastMs = footage.coverage.at(-1)?.endMs ?? endMs
  return endMs - lastMs < SETTLING_MS ? lastMs : endMs
}
