/** The dialog for the retention policy of a camera or a place. What a change would delete is shown before it is saved. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { api, type PolicySubject } from '../api'
import { EVENT_KINDS } from '../events'
import { formatBytes, formatDateTime, formatNumber } from '../format'
import { useTexts } from '../i18n'
import { type PolicyForm, sourceOf, toForm, toPolicy } from '../retention'
import { useSubmit } from '../submit'
import type { Retention, RetentionPolicy, RetentionPreview } from '../types'
import { Dialog } from './dialog'
import { Loading, Notice } from './feedback'
import { Field } from './fields'

interface DialogProps {
  of: PolicySubject
  name: string
  onClose: () => void
}

export function RetentionDialog({ of, name, onClose }: DialogProps) {
  const { t, explain } = useTexts()
  const [retention, setRetention] = useState<Retention | null>(null)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    const stop = new AbortController()
    api.retention(of, stop.signal).then(setRetention, (reason: unknown) => stop.signal.aborted || setError(reason))
    return () => stop.abort()
  }, [of.kind, of.id])
  return (
    <Dialog title={t('retention.of', { name })} onClose={onClose} testId="retention-dialog">
      {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
      {retention ? <PolicyEditor of={of} retention={retention} onClose={onClose} /> : error === null && <Loading />}
    </Dialog>
  )
}

interface Previewed {
  policy: RetentionPolicy
  preview: RetentionPreview
}

function PolicyEditor({ of, retention, onClose }: { of: PolicySubject; retention: Retention; onClose: () => void }) {
  const { t, explain } = useTexts()
  const [form, setForm] = useState<PolicyForm>(() => toForm(retention))
  const [invalid, setInvalid] = useState(false)
  const [previewed, setPreviewed] = useState<Previewed | null>(null)
  const [looking, setLooking] = useState(false)
  const [failed, setFailed] = useState<unknown>(null)
  const { busy, error, submit } = useSubmit()
  const change = (changes: Partial<PolicyForm>) => {
    setForm((before) => ({ ...before, ...changes }))
    setPreviewed(null)
  }
  const look = async () => {
    const policy = toPolicy(form)
    setInvalid(policy === null)
    if (policy === null) return
    setLooking(true)
    setFailed(null)
    try {
      setPreviewed({ policy, preview: await api.previewRetention(of, policy) })
    } catch (reason) {
      setFailed(reason)
    }
    setLooking(false)
  }
  const act = (event: Event) => {
    event.preventDefault()
    if (previewed === null) void look()
    else submit(() => api.setRetention(of, previewed.policy).then(onClose))
  }
  const trouble = error ?? failed
  return (
    <form class="form" onSubmit={act} noValidate>
      <p class="fine">{t('retention.lead')}</p>
      <Bounds form={form} retention={retention} of={of} change={change} />
      {retention.effective.locked_days > 0 && (
        <Notice kind="info">{t('retention.locked', { days: retention.effective.locked_days })}</Notice>
      )}
      {invalid && <Notice kind="bad">{t('retention.invalid')}</Notice>}
      {trouble !== null && <Notice kind="bad">{explain(trouble)}</Notice>}
      {previewed && <Preview preview={previewed.preview} of={of} />}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onClose}>
          {t('app.cancel')}
        </button>
        {previewed === null ? (
          <button type="submit" class="button button-primary" data-testid="preview" disabled={looking}>
            {t(looking ? 'retention.looking' : 'retention.preview')}
          </button>
        ) : (
          <button
            type="submit"
            class={`button ${previewed.preview.objects > 0 ? 'button-danger' : 'button-primary'}`}
            data-testid="save"
            disabled={busy}
          >
            {t(previewed.preview.objects > 0 ? 'retention.saveAndDelete' : 'app.save')}
          </button>
        )}
      </div>
    </form>
  )
}

interface BoundsProps {
  form: PolicyForm
  retention: Retention
  of: PolicySubject
  change: (changes: Partial<PolicyForm>) => void
}

function Bounds({ form, retention, of, change }: BoundsProps) {
  const { t, locale } = useTexts()
  const { effective } = retention
  const hint = (bound: string, value: string) => {
    const source = sourceOf(retention, bound, `${of.kind}:${of.id}`)
    if (source === 'own') return t('retention.own', { value })
    if (source === 'settings') return t('retention.fromSettings', { value })
    return t('retention.from', { value, place: source.slice(source.indexOf(':') + 1) })
  }
  const days = (count: number) =>
    count > 0 ? t('retention.days', { count: formatNumber(count, locale, 2) }) : t('retention.noLimit')
  const seconds = (count: number) => `${formatNumber(count, locale)} s`
  const size = effective.max_size_bytes > 0 ? formatBytes(effective.max_size_bytes, locale) : t('retention.noLimit')
  const number = (label: string, name: string, value: string, changes: (value: string) => Partial<PolicyForm>, below: string) => (
    <Field
      label={label}
      name={name}
      type="number"
      value={value}
      onInput={(text) => change(changes(text))}
      hint={below}
      placeholder={t('retention.inherited')}
    />
  )
  return (
    <>
      <div class="form-row">
        {number(t('retention.maxAge'), 'max_age_days', form.maxAge, (maxAge) => ({ maxAge }), hint('max_age_days', days(effective.max_age_days)))}
        {number(t('retention.maxSize'), 'max_size_gb', form.maxSize, (maxSize) => ({ maxSize }), hint('max_size_bytes', size))}
      </div>
      <fieldset>
        <legend>{t('retention.events')}</legend>
        <p class="fine">{t('retention.eventsLead')}</p>
        <div class="form-row form-row-many">
          {EVENT_KINDS.map((kind) =>
            number(
              t(`event.kind.${kind}`),
              `keep_${kind}`,
              form.events[kind],
              (text) => ({ events: { ...form.events, [kind]: text } }),
              effective.keep_events[kind] === undefined
                ? t('retention.asAll')
                : hint(`event.${kind}`, days(effective.keep_events[kind] ?? 0)),
            ),
          )}
        </div>
        <div class="form-row">
          {number(t('retention.before'), 'event_before_s', form.before, (before) => ({ before }), hint('event_before_s', seconds(effective.event_before_s)))}
          {number(t('retention.after'), 'event_after_s', form.after, (after) => ({ after }), hint('event_after_s', seconds(effective.event_after_s)))}
        </div>
      </fieldset>
    </>
  )
}

function Preview({ preview, of }: { preview: RetentionPreview; of: PolicySubject }) {
  const { t, locale } = useTexts()
  const counts = (one: Pick<RetentionPreview, 'objects' | 'size_bytes' | 'hours'>) => ({
    objects: formatNumber(one.objects, locale),
    size: formatBytes(one.size_bytes, locale),
    hours: formatNumber(one.hours, locale, 1),
  })
  const element = useRef<HTMLDivElement>(null)
  // On a phone it would come up below the fields, out of sight, under a button that deletes.
  useEffect(() => element.current?.scrollIntoView({ block: 'nearest' }), [preview])
  const at = (time: string | null) => (time === null ? '' : formatDateTime(Date.parse(time), locale))
  return (
    <div ref={element}>
      <Notice kind={preview.objects > 0 ? 'warn' : 'good'} testId="retention-preview">
        {preview.objects === 0 ? (
          <p>{t('retention.deletesNothing')}</p>
        ) : (
          <p>
            {t('retention.deletes', { ...counts(preview), oldest: at(preview.oldest), newest: at(preview.newest) })}
          </p>
        )}
        {preview.held.objects > 0 && (
          <p>
            {t('retention.held', {
              objects: formatNumber(preview.held.objects, locale),
              size: formatBytes(preview.held.size_bytes, locale),
            })}
          </p>
        )}
        {!preview.complete && <p>{t('retention.incomplete')}</p>}
        {of.kind === 'place' && preview.cameras.length > 0 && (
          <details>
            <summary>{t('retention.perCamera')}</summary>
            <ul>
              {preview.cameras.map((one) => (
                <li key={one.camera}>
                  <code class="code">{one.camera}</code> {t('retention.line', counts(one))}
                </li>
              ))}
            </ul>
          </details>
        )}
      </Notice>
    </div>
  )
}
