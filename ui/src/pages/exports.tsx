/** What this account has exported: how far each is, and where to fetch it. */
import { useState } from 'preact/hooks'
import { api, exportUrl } from '../api'
import { ConfirmDialog } from '../components/dialog'
import { Empty, PollNotice } from '../components/feedback'
import { Icon } from '../components/icon'
import { Table } from '../components/table'
import { formatBytes, formatPercent, formatSpan } from '../format'
import { knownKey, useTexts } from '../i18n'
import { usePolled } from '../poller'
import { cameras, exportsMade } from '../stores'
import type { Camera, Export } from '../types'

export function ExportsPage() {
  const { t } = useTexts()
  const { value } = usePolled(exportsMade)
  const { value: seen } = usePolled(cameras)
  const [removing, remove] = useState<Export | null>(null)
  return (
    <div class="page">
      <div class="page-head">
        <div>
          <h1>{t('exports.title')}</h1>
          <p class="lead">{t('exports.lead')}</p>
        </div>
      </div>
      <PollNotice poller={exportsMade} />
      {value?.length === 0 && <Empty title={t('exports.empty')} />}
      {value && value.length > 0 && (
        <Table
          label={t('exports.title')}
          testId="exports"
          columns={[
            { title: t('exports.purpose') },
            { title: t('exports.cameras') },
            { title: t('exports.span') },
            { title: t('exports.state') },
            { title: t('cameras.actions'), hidden: true },
          ]}
        >
          {value.map((one) => (
            <Row key={one.id} made={one} cameras={seen ?? []} onRemove={() => remove(one)} />
          ))}
        </Table>
      )}
      {removing && (
        <ConfirmDialog
          name="remove-export"
          title={t('exports.removeTitle')}
          confirm={t('exports.remove')}
          action={() => removed(removing)}
          onClose={() => remove(null)}
        >
          {t('exports.removeText')}
        </ConfirmDialog>
      )}
    </div>
  )
}

async function removed(one: Export): Promise<void> {
  await api.removeExport(one.id)
  exportsMade.refresh()
}

function Row({ made, cameras: list, onRemove }: { made: Export; cameras: Camera[]; onRemove: () => void }) {
  const { t, locale } = useTexts()
  const names = made.cameras.map((id) => list.find((camera) => camera.id === id)?.name ?? id)
  return (
    <tr data-export={made.id} data-state={made.state}>
      <td>
        <span class="row-title">{made.purpose}</span>
        <div class="fine">{t('exports.entry', { entry: made.entry })}</div>
      </td>
      <td data-label={t('exports.cameras')}>{names.join(', ')}</td>
      <td data-label={t('exports.span')}>{formatSpan(Date.parse(made.start), Date.parse(made.end), locale)}</td>
      <td data-label={t('exports.state')}>
        <State made={made} />
      </td>
      <td>
        <div class="row-actions">
          {made.state === 'ready' && (
            <a class="button button-primary" href={exportUrl(made.id)} download data-testid="download">
              <Icon name="download" />
              <span>{t('exports.download')}</span>
            </a>
          )}
          {made.state === 'running' ? (
            <button type="button" class="button" data-testid="stop" onClick={() => void removed(made)}>
              <Icon name="close" />
              <span>{t('exports.cancel')}</span>
            </button>
          ) : (
            <button type="button" class="button button-danger-quiet" data-testid="remove" onClick={onRemove}>
              <Icon name="trash" />
              <span>{t('exports.remove')}</span>
            </button>
          )}
        </div>
      </td>
    </tr>
  )
}

function State({ made }: { made: Export }) {
  const { t, locale, language } = useTexts()
  switch (made.state) {
    case 'running': {
      if (made.total_bytes === 0) return <>{t('exports.preparing')}</>
      const share = Math.min(1, made.done_bytes / made.total_bytes)
      const text = t('exports.running', { percent: formatPercent(share, locale) })
      return (
        <div class="export-state">
          <span>{text}</span>
          <progress class="progress" max={1} value={share} aria-label={text} />
        </div>
      )
    }
    case 'ready':
      return <>{t('exports.ready', { size: formatBytes(made.size_bytes ?? 0, locale) })}</>
    default: {
      const key = knownKey(`error.${made.error?.code}`)
      const why = language === 'vi' && key ? t(key) : made.error?.sentence
      return (
        <div class="export-state">
          <span>{t(made.state === 'failed' ? 'exports.failed' : 'exports.cancelled')}</span>
          {why && <span class="fine">{why}</span>}
        </div>
      )
    }
  }
}
