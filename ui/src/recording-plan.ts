/** When a camera is recorded, as the API writes it and as a form holds it. Pure. */
import type { EventKind, PlanMode, RecordingPlan } from './types'

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export const MODES = ['continuous', 'schedule', 'event', 'off'] as const
export const PLAN_KINDS = ['motion', 'tamper', 'digital_input', 'storage'] as const

export interface SpanForm {
  days: readonly string[]
  from: string
  /** Midnight at the end of a day is 00:00, as clocks show it. */
  to: string
}

/** What was filled in for each mode, whichever is chosen. */
export interface PlanForm {
  mode: PlanMode
  timeZone: string
  spans: readonly SpanForm[]
  kinds: readonly EventKind[]
  beforeS: string
  afterS: string
}

export const NEW_SPAN: SpanForm = { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '18:00', to: '06:00' }

export function toPlanForm(plan: RecordingPlan): PlanForm {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  return {
    mode: plan.mode,
    timeZone: plan.time_zone ?? zone,
    spans: plan.spans?.map((span) => ({ ...span, to: span.to === '24:00' ? '00:00' : span.to })) ?? [NEW_SPAN],
    kinds: plan.kinds ?? ['motion'],
    beforeS: String(plan.before_s ?? 10),
    afterS: String(plan.after_s ?? 30),
  }
}

/** Null where something is missing or makes no sense. */
export function toPlan(form: PlanForm): RecordingPlan | null {
  if (form.mode === 'schedule') {
    const spans = form.spans.map((span) => ({ ...span, days: inOrder(span.days), to: span.to === '00:00' ? '24:00' : span.to }))
    const whole = spans.every(({ days, from, to }) => days.length > 0 && from !== '' && to !== '' && from !== to)
    if (!whole || spans.length === 0 || form.timeZone.trim() === '') return null
    return { mode: 'schedule', time_zone: form.timeZone.trim(), spans }
  }
  if (form.mode === 'event') {
    const before_s = seconds(form.beforeS, 60)
    const after_s = seconds(form.afterS, 3600)
    if (before_s === null || after_s === null || form.kinds.length === 0) return null
    return { mode: 'event', kinds: PLAN_KINDS.filter((kind) => form.kinds.includes(kind)), before_s, after_s }
  }
  return { mode: form.mode }
}

export function samePlan(one: RecordingPlan, other: RecordingPlan): boolean {
  return JSON.stringify(toPlan(toPlanForm(one))) === JSON.stringify(toPlan(toPlanForm(other)))
}

const inOrder = (days: readonly string[]) => DAYS.filter((day) => days.includes(day))

function seconds(text: string, most: number): number | null {
  const value = Number(text)
  return text.trim() !== '' && value >= 0 && value <= most ? value : null
}
