/** What the camera told on the day of the timeline, newest first. */
import { useState } from 'preact/hooks'
import { type DayEvents, EVENT_KINDS, type Occurrence } from '../events'
import { formatDuration, formatMoment, formatNumber } from '../format'
import { useTexts } from '../i18n'
import type { Camera, EventKind } from '../types'
import { Notice } from './feedback'
import { Icon } from './icon'
import { serviceReason } from './profile'
import { Table } from './table'

const FIRST_ROWS = 8
const MORE_ROWS = 50
/** Of how much a camera's clock may differ before the list says so. */
const SAME_TIME_MS = 1000

interface EventListProps {
  camera: Camera
  data: DayEvents
  kinds: ReadonlySet<EventKind>
  onKinds: (kinds: ReadonlySet<EventKind>) => void
  canSeek: boolean
  onSeek: (ms: number) => void
  nowMs: number
}

export function EventList(props: EventListProps) {
  const { t, explain } = useTexts()
  const { occurrences, error } = props.data
  const [rows, setRows] = useState(FIRST_ROWS)
  const shown = (occurrences ?? []).filter((one) => props.kinds.has(one.kind)).reverse()
  return (
    <section class="panel events-panel" aria-label={t('event.title')} data-testid="events">
      <div class="panel-head">
        <h2>{t('event.title')}</h2>
        <KindFilter {...props} />
      </div>
      <ServiceTrouble camera={props.camera} />
      {error !== null && (
        <Notice kind={occurrences ? 'warn' : 'bad'}>
          {t('event.failed')} {explain(error)}
        </Notice>
      )}
      {occurrences !== null && shown.length === 0 && <p class="fine">{t('event.empty')}</p>}
      {shown.length > 0 && <Rows {...props} rows={shown.slice(0, rows)} />}
      {shown.length > rows && (
        <button type="button" class="button" onClick={() => setRows(rows + MORE_ROWS)}>
          {t('event.more', { count: shown.length - rows })}
        </button>
      )}
    </section>
  )
}

/** Why nothing may come: a camera that tells of no events, or does not answer for them. */
function ServiceTrouble({ camera }: { camera: Camera }) {
  const { t, sentence } = useTexts()
  if (!camera.enabled) return <p class="fine">{t('state.offHint')}</p>
  const reason = serviceReason(camera, 'events')
  if (camera.device?.services['events']?.state === 'off') return <p class="fine">{t('event.off')}</p>
  if (camera.device && !reason) return null
  return (
    <Notice kind="info" code={reason?.code}>
      {t('event.none')} {reason ? sentence(reason) : t('event.noOnvif')}
    </Notice>
  )
}

/** All kinds are shown at first; one that is pressed off goes from list and timeline alike. */
function KindFilter({ kinds, onKinds, data }: EventListProps) {
  const { t, locale } = useTexts()
  const toggle = (kind: EventKind) => {
    const next = new Set(kinds)
    if (!next.delete(kind)) next.add(kind)
    onKinds(next)
  }
  return (
    <div class="kind-filter" role="group" aria-label={t('event.filter')}>
      {EVENT_KINDS.map((kind) => (
        <button
          key={kind}
          type="button"
          class="chip"
          aria-pressed={kinds.has(kind)}
          data-testid="event-kind"
          data-kind={kind}
          onClick={() => toggle(kind)}
        >
          <span class={`swatch swatch-event-${kind}`} aria-hidden="true" />
          {t(`event.kind.${kind}`)}
          <span class="chip-count">
            {formatNumber(data.occurrences?.filter((one) => one.kind === kind).length ?? 0, locale)}
          </span>
        </button>
      ))}
    </div>
  )
}

function Rows(props: EventListProps & { rows: Occurrence[] }) {
  const { t } = useTexts()
  return (
    <Table
      label={t('event.title')}
      class="table-dense table-events"
      scrollClass="event-scroll"
      columns={[
        { title: t('event.kind') },
        { title: t('event.began') },
        { title: t('event.ended') },
        { title: t('event.cameraTime') },
        { title: t('event.source') },
      ]}
    >
      {props.rows.map((one) => (
        <Row key={one.key} {...props} one={one} />
      ))}
    </Table>
  )
}

function Row({ one, canSeek, onSeek, nowMs }: EventListProps & { one: Occurrence }) {
  const { t, locale } = useTexts()
  const time = (ms: number) => formatMoment(ms, nowMs, locale)
  const { beganMs, endedMs } = one
  const seekMs = beganMs ?? endedMs
  const began = beganMs === null ? t('event.earlier') : time(beganMs)
  return (
    <tr data-testid="event" data-kind={one.kind} data-going={endedMs === null}>
      <td class="nowrap">
        <span class="event-name">
          <span class={`swatch swatch-event-${one.kind}`} aria-hidden="true" />
          {t(`event.kind.${one.kind}`)}
        </span>
      </td>
      <td class="nowrap" data-label={t('event.began')}>
        {canSeek && seekMs !== null ? (
          <button
            type="button"
            class="link-button"
            title={t('event.play')}
            data-testid="event-play"
            onClick={() => onSeek(seekMs)}
          >
            <Icon name="play" />
            {began}
          </button>
        ) : (
          began
        )}
      </td>
      <td class="nowrap" data-label={t('event.ended')}>
        {endedMs === null ? <span class="event-now">{t('event.goesOn')}</span> : time(endedMs)}
        {beganMs !== null && endedMs !== null && (
          <span class="fine"> · {formatDuration((endedMs - beganMs) / 1000, locale)}</span>
        )}
      </td>
      <td class="nowrap fine" data-label={t('event.cameraTime')}>
        <CameraTime one={one} nowMs={nowMs} />
      </td>
      <td class="fine" data-label={t('event.source')}>
        {one.source}
      </td>
    </tr>
  )
}

/** By the camera's clock, and how far that is from the server's where it matters. */
function CameraTime({ one, nowMs }: { one: Occurrence; nowMs: number }) {
  const { t, locale } = useTexts()
  const serverMs = one.beganMs ?? one.endedMs
  if (one.cameraMs === null || serverMs === null) return <>{t('event.noCameraTime')}</>
  const awayMs = one.cameraMs - serverMs
  const away = Math.abs(awayMs) > SAME_TIME_MS
  const sign = awayMs < 0 ? '−' : '+'
  return (
    <>
      {formatMoment(one.cameraMs, nowMs, locale)}
      {away && ` (${sign}${formatDuration(Math.abs(awayMs) / 1000, locale)})`}
    </>
  )
}
