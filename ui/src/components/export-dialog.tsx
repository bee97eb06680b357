/** Asks what is to be exported: which cameras, from when to when, and why. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { useTexts } from '../i18n'
import { usePolled } from '../poller'
import { href } from '../router'
import { cameras, exportsMade } from '../stores'
import { useSubmit } from '../submit'
import type { Camera, StreamName } from '../types'
import { Dialog, DialogActions } from './dialog'
import { Notice } from './feedback'
import { Checkbox, Field } from './fields'

/** What is offered around the picture that is shown. */
const AROUND_MS = 5 * 60_000

interface ExportDialogProps {
  camera: Camera
  /** Cameras that are chosen at first, where it is not this one alone. */
  beside?: readonly string[]
  stream: StreamName
  aroundMs: number
  onClose: () => void
}

export function ExportDialog({ camera, beside = [camera.id], stream, aroundMs, onClose }: ExportDialogProps) {
  const { t, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  const { value } = usePolled(cameras)
  const [start, setStart] = useState(() => localInput(aroundMs - AROUND_MS))
  const [end, setEnd] = useState(() => localInput(Math.min(Date.now(), aroundMs + AROUND_MS)))
  const [purpose, setPurpose] = useState('')
  const mine = (value ?? [camera]).filter((one) => one.permissions.includes('footage.export'))
  const [chosen, choose] = useState<ReadonlySet<string>>(
    () => new Set(beside.filter((id) => mine.some((one) => one.id === id))),
  )
  const isSpan = Date.parse(start) < Date.parse(end)
  const toggle = (id: string, on: boolean) => {
    const next = new Set(chosen)
    if (on) next.add(id)
    else next.delete(id)
    choose(next)
  }
  const make = async () => {
    const span = { start: new Date(start).toISOString(), end: new Date(end).toISOString() }
    await api.startExport({ cameras: [...chosen], stream, ...span, purpose: purpose.trim() })
    exportsMade.refresh()
    location.hash = href.exports
  }
  return (
    <Dialog title={t('exports.title')} onClose={onClose} testId="export-dialog">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          submit(make)
        }}
      >
        <div class="export-span">
          <Field label={t('exports.start')} name="start" type="datetime-local" value={start} onInput={setStart} required />
          <Field
            label={t('exports.end')}
            name="end"
            type="datetime-local"
            value={end}
            onInput={setEnd}
            error={isSpan ? null : t('exports.spanInvalid')}
            required
          />
        </div>
        <div class="field">
          <span class="field-title" id="export-cameras">{t('exports.cameras')}</span>
          <div class="export-cameras" role="group" aria-labelledby="export-cameras">
            {mine.map((one) => (
              <Checkbox
                key={one.id}
                name={`camera-${one.id}`}
                label={one.name}
                checked={chosen.has(one.id)}
                onChange={(on) => toggle(one.id, on)}
              />
            ))}
          </div>
        </div>
        <Field
          label={t('exports.purpose')}
          hint={t('exports.purposeHint')}
          name="purpose"
          value={purpose}
          onInput={setPurpose}
          required
          autoFocus
        />
        {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
        <DialogActions
          submit={t(busy ? 'exports.starting' : 'exports.startNow')}
          testId="export-start"
          disabled={busy || !isSpan || chosen.size === 0 || !purpose.trim()}
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}

/** Local time as inputs for date and time want it, to the second. */
function localInput(ms: number): string {
  const date = new Date(ms)
  return new Date(ms - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}
