/** The rows of a survey: verdict, device, what its stream is like, and why. */
import { codecTitle, formatNumber, formatPercent } from '../format'
import { useTexts } from '../i18n'
import type { SurveyRow, SurveyStream } from '../types'
import { Icon } from './icon'
import { Table } from './table'

/** From which offset on a clock is worth a word. */
const CLOCK_S = 1

export function SurveyTable({ rows, onAdd }: { rows: SurveyRow[]; onAdd: (row: SurveyRow) => void }) {
  const { t } = useTexts()
  return (
    <Table
      label={t('survey.title')}
      class="survey-table"
      testId="survey-rows"
      columns={[
        { title: t('survey.verdict') },
        { title: t('survey.device') },
        { title: t('survey.stream') },
        { title: t('survey.why') },
        { title: t('cameras.actions'), hidden: true },
      ]}
    >
      {rows.map((row) => (
        <Row key={row.row} row={row} onAdd={onAdd} />
      ))}
    </Table>
  )
}

function Row({ row, onAdd }: { row: SurveyRow; onAdd: (row: SurveyRow) => void }) {
  const { t } = useTexts()
  const device = [row.manufacturer, row.model].filter(Boolean).join(' ')
  const usable = row.verdict === 'eligible' && row.reason?.code !== 'in_service'
  return (
    <tr data-address={row.address} data-verdict={row.verdict ?? undefined}>
      <td class="nowrap">
        <VerdictBadge row={row} />
      </td>
      <td>
        <div class="row-title">{row.name || row.address}</div>
        {row.name && <div class="fine">{row.address}</div>}
        <div class="fine">{[device, row.place].filter(Boolean).join(' · ')}</div>
      </td>
      <td>
        <Streams row={row} />
      </td>
      <td>
        <Why row={row} />
      </td>
      <td>
        {usable && (
          <div class="row-actions">
            <button
              type="button"
              class="button"
              data-testid="survey-add"
              aria-label={`${t('survey.add')}: ${row.name || row.address}`}
              onClick={() => onAdd(row)}
            >
              <Icon name="plus" />
              <span>{t('survey.add')}</span>
            </button>
          </div>
        )}
      </td>
    </tr>
  )
}

function VerdictBadge({ row }: { row: SurveyRow }) {
  const { t } = useTexts()
  if (row.verdict === null)
    return (
      <span class={`badge survey-${row.state}`}>
        {row.state === 'reading' || row.state === 'measuring' ? (
          <span class="spinner spinner-small" aria-hidden="true" />
        ) : (
          <span class="badge-dot" aria-hidden="true" />
        )}
        {t(`surveyRow.${row.state}`)}
      </span>
    )
  return (
    <span class={`badge verdict-${row.verdict}`} data-testid="verdict">
      <span class="badge-dot" aria-hidden="true" />
      {t(`verdict.${row.verdict}`)}
    </span>
  )
}

function Why({ row }: { row: SurveyRow }) {
  const { sentence } = useTexts()
  const reasons = [row.reason, ...row.remarks.filter((remark) => remark.code !== row.reason?.code)]
  return (
    <>
      {reasons.map(
        (reason) =>
          reason && (
            <p class="survey-why" key={reason.code}>
              {sentence(reason)} <code class="code">{reason.code}</code>
            </p>
          ),
      )}
    </>
  )
}

/** The stream that the verdict is about first; the other one where it was tried too. */
function Streams({ row }: { row: SurveyRow }) {
  const { t, locale } = useTexts()
  const { main, sub } = row.streams
  const { clock } = row
  return (
    <>
      {main && <StreamLine label={t('cameras.main')} stream={main} />}
      {sub && sub.measured_s > 0 && <StreamLine label={t('cameras.sub')} stream={sub} />}
      {clock && Math.abs(clock.offset_s) - clock.uncertainty_s > CLOCK_S && (
        <div class="fine">{t('survey.clock', { seconds: formatNumber(clock.offset_s, locale) })}</div>
      )}
    </>
  )
}

function StreamLine({ label, stream }: { label: string; stream: SurveyStream }) {
  const { t, locale } = useTexts()
  const measured = stream.measured_s > 0
  const packets = stream.packets + stream.lost_packets
  const parts = [
    stream.width > 0 && `${stream.width} × ${stream.height}`,
    stream.codec && codecTitle(stream.codec),
    stream.rate > 0 && `${formatNumber(stream.rate, locale)}/s`,
    stream.bitrate_kbps > 0 && `${formatNumber(stream.bitrate_kbps, locale)} kbit/s`,
    stream.audio && codecTitle(stream.audio),
    stream.keyframe_interval_s !== null &&
      t('survey.keyframe', { seconds: formatNumber(stream.keyframe_interval_s, locale, 1) }),
    measured && stream.lost_packets > 0 && t('survey.lost', { percent: formatPercent(stream.lost_packets / packets, locale) }),
    !measured && stream.codec && t('survey.declared'),
  ].filter(Boolean)
  if (parts.length === 0) return null
  return (
    <div class="pick">
      <span class="pick-label">{label}</span>
      <span class={measured ? undefined : 'fine'}>{parts.join(' · ')}</span>
    </div>
  )
}
