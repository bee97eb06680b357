/** When a camera is recorded, and the attestation without which it is not. */
import { useEffect, useState } from 'preact/hooks'
import { api } from '../api'
import { useTexts } from '../i18n'
import { DAYS, MODES, NEW_SPAN, PLAN_KINDS, type PlanForm, type SpanForm, toPlan } from '../recording-plan'
import type { AttestationText } from '../types'
import { Checkbox, Field, Select } from './fields'
import { Icon } from './icon'

interface PlanProps {
  plan: PlanForm
  /** The camera tells events: one that is given by its rtsp:// address does not. */
  hasEvents: boolean
  /** Whether what is missing is said. */
  asked: boolean
  onChange: (plan: PlanForm) => void
}

export function PlanFields({ plan, hasEvents, asked, onChange }: PlanProps) {
  const { t } = useTexts()
  const modes = MODES.filter((mode) => mode !== 'event' || hasEvents || plan.mode === 'event')
  return (
    <fieldset data-testid="plan">
      <legend>{t('plan.title')}</legend>
      <Select
        label={t('plan.mode')}
        name="recording_mode"
        value={plan.mode}
        options={modes.map((mode) => [mode, t(`plan.${mode}`)] as const)}
        onChange={(mode) => onChange({ ...plan, mode })}
        hint={t(`plan.${plan.mode}Hint`)}
      />
      {plan.mode === 'schedule' && <ScheduleFields plan={plan} onChange={onChange} />}
      {plan.mode === 'event' && <EventFields plan={plan} onChange={onChange} />}
      {asked && toPlan(plan) === null && (
        <p class="field-error" role="alert">
          {t('plan.incomplete')}
        </p>
      )}
    </fieldset>
  )
}

type PartProps = Pick<PlanProps, 'plan' | 'onChange'>

function ScheduleFields({ plan, onChange }: PartProps) {
  const { t } = useTexts()
  const change = (at: number, changes: Partial<SpanForm>) =>
    onChange({ ...plan, spans: plan.spans.map((span, index) => (index === at ? { ...span, ...changes } : span)) })
  return (
    <>
      {plan.spans.map((span, index) => (
        <div class="plan-span" role="group" aria-label={t('plan.span', { number: index + 1 })} key={index}>
          <Days days={span.days} onChange={(days) => change(index, { days })} />
          <div class="plan-times">
            <Time label={t('plan.from')} name="from" value={span.from} onInput={(from) => change(index, { from })} />
            <Time label={t('plan.to')} name="to" value={span.to} onInput={(to) => change(index, { to })} />
            <button
              type="button"
              class="button"
              disabled={plan.spans.length === 1}
              onClick={() => onChange({ ...plan, spans: plan.spans.filter((_, at) => at !== index) })}
            >
              {t('plan.removeSpan')}
            </button>
          </div>
        </div>
      ))}
      <button
        type="button"
        class="button"
        data-testid="add-span"
        onClick={() => onChange({ ...plan, spans: [...plan.spans, NEW_SPAN] })}
      >
        {t('plan.addSpan')}
      </button>
      <Field
        label={t('plan.timeZone')}
        name="time_zone"
        value={plan.timeZone}
        onInput={(timeZone) => onChange({ ...plan, timeZone })}
        hint={t('plan.timeZoneHint')}
      />
    </>
  )
}

function Days({ days, onChange }: { days: readonly string[]; onChange: (days: string[]) => void }) {
  const { t } = useTexts()
  return (
    <div class="plan-days">
      {DAYS.map((day) => (
        <Checkbox
          key={day}
          label={t(`day.${day}`)}
          name={day}
          checked={days.includes(day)}
          onChange={(on) => onChange(on ? [...days, day] : days.filter((one) => one !== day))}
        />
      ))}
    </div>
  )
}

function Time(props: { label: string; name: string; value: string; onInput: (value: string) => void }) {
  return (
    <label class="field plan-time">
      <span>{props.label}</span>
      <input
        type="time"
        name={props.name}
        value={props.value}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
    </label>
  )
}

function EventFields({ plan, onChange }: PartProps) {
  const { t } = useTexts()
  return (
    <>
      <div class="plan-days">
        {PLAN_KINDS.map((kind) => (
          <Checkbox
            key={kind}
            label={t(`event.kind.${kind}`)}
            name={kind}
            checked={plan.kinds.includes(kind)}
            onChange={(on) =>
              onChange({ ...plan, kinds: on ? [...plan.kinds, kind] : plan.kinds.filter((one) => one !== kind) })
            }
          />
        ))}
      </div>
      <div class="form-row">
        <Field
          label={t('plan.before')}
          name="before_s"
          type="number"
          value={plan.beforeS}
          onInput={(beforeS) => onChange({ ...plan, beforeS })}
        />
        <Field
          label={t('plan.after')}
          name="after_s"
          type="number"
          value={plan.afterS}
          onInput={(afterS) => onChange({ ...plan, afterS })}
        />
      </div>
    </>
  )
}

/** The text that is attested, once the server has told it. */
export function useAttestationText(): AttestationText | null {
  const [text, setText] = useState<AttestationText | null>(null)
  useEffect(() => {
    const abort = new AbortController()
    api.attestationText(abort.signal).then(setText, () => undefined)
    return () => abort.abort()
  }, [])
  return text
}

interface AttestProps {
  text: AttestationText | null
  attested: boolean
  onChange: (attested: boolean) => void
}

/** The box by which a person attests; who and when is kept. */
export function AttestBox({ text, attested, onChange }: AttestProps) {
  const { t, language } = useTexts()
  if (text === null) return null
  return (
    <fieldset data-testid="attest">
      <legend>{t('attest.title')}</legend>
      <Checkbox
        label={language === 'vi' ? text.text_vi : text.text}
        name="attested"
        checked={attested}
        onChange={onChange}
      />
      {!attested && (
        <p class="field-hint">
          <Icon name="info" /> {t('attest.otherwise')}
        </p>
      )}
    </fieldset>
  )
}
