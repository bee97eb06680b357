/** The dialog that holds a span of footage as evidence. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { formatBytes, formatNumber } from '../format'
import { useTexts } from '../i18n'
import { useSubmit } from '../submit'
import type { SpanMs } from '../timeline'
import type { Camera, Hold } from '../types'
import { Dialog, DialogActions } from './dialog'
import { Notice } from './feedback'
import { Field } from './fields'
import { TimeField } from './time-field'

const NOTHING = { reason: '', caseNumber: '', until: null as number | null }

export function HoldDialog({ camera, span, onClose }: { camera: Camera; span: SpanMs; onClose: () => void }) {
  const { t, explain } = useTexts()
  const [form, setForm] = useState({ ...NOTHING, start: span.startMs as number | null, end: span.endMs as number | null })
  const [missing, setMissing] = useState(false)
  const [placed, setPlaced] = useState<Hold | null>(null)
  const { busy, error, submit } = useSubmit()
  const change = (changes: Partial<typeof form>) => setForm((before) => ({ ...before, ...changes }))
  const save = (event: Event) => {
    event.preventDefault()
    const { start, end, reason, caseNumber, until } = form
    const incomplete = start === null || end === null || end <= start || reason.trim() === ''
    setMissing(incomplete)
    if (incomplete) return
    const iso = (ms: number) => new Date(ms).toISOString()
    submit(async () => {
      setPlaced(
        await api.placeHold(camera.id, {
          start: iso(start),
          end: iso(end),
          reason: reason.trim(),
          case_number: caseNumber.trim() || null,
          until: until === null ? null : iso(until),
        }),
      )
    })
  }
  if (placed) {
    return (
      <Dialog title={t('hold.title', { name: camera.name })} onClose={onClose} testId="hold-dialog">
        <HoldPlaced hold={placed} />
        <div class="dialog-actions">
          <button type="button" class="button button-primary" data-testid="hold-done" onClick={onClose}>
            {t('app.close')}
          </button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title={t('hold.title', { name: camera.name })} onClose={onClose} testId="hold-dialog">
      <form class="form" onSubmit={save} noValidate>
        <p class="fine">{t('hold.lead')}</p>
        <div class="form-row">
          <TimeField label={t('hold.start')} name="start" ms={form.start} onChange={(start) => change({ start })} />
          <TimeField label={t('hold.end')} name="end" ms={form.end} onChange={(end) => change({ end })} />
        </div>
        <Field
          label={t('hold.reason')}
          name="reason"
          value={form.reason}
          onInput={(reason) => change({ reason })}
          required
          autoFocus
          spellcheck
        />
        <div class="form-row">
          <Field
            label={t('hold.caseNumber')}
            name="case_number"
            value={form.caseNumber}
            onInput={(caseNumber) => change({ caseNumber })}
          />
          <TimeField
            label={t('hold.until')}
            name="until"
            ms={form.until}
            onChange={(until) => change({ until })}
            hint={t('hold.untilHint')}
          />
        </div>
        {missing && <Notice kind="bad">{t('hold.missing')}</Notice>}
        {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
        <DialogActions
          submit={t('hold.place')}
          testId="place-hold"
          disabled={busy}
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}

function HoldPlaced({ hold }: { hold: Hold }) {
  const { t, locale } = useTexts()
  const { objects = 0, size_bytes: bytes = 0 } = hold.protects ?? {}
  return (
    <Notice kind={objects > 0 ? 'good' : 'warn'} testId="hold-placed">
      {objects > 0
        ? t('hold.placed', { id: hold.id, objects: formatNumber(objects, locale), size: formatBytes(bytes, locale) })
        : t('hold.placedEmpty', { id: hold.id })}
    </Notice>
  )
}
