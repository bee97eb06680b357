/** What the form of a retention policy holds, and the policy that it means. Pure. */
import { EVENT_KINDS } from './events'
import type { EventKind, Retention, RetentionPolicy } from './types'

export const GIGABYTE = 1e9

/** Texts of number fields; an empty one is inherited. */
export interface PolicyForm {
  maxAge: string
  maxSize: string
  events: Record<EventKind, string>
  before: string
  after: string
}

export function toForm(policy: RetentionPolicy): PolicyForm {
  const text = (value: number | null | undefined) => (value === null || value === undefined ? '' : String(value))
  const events = Object.fromEntries(EVENT_KINDS.map((kind) => [kind, text(policy.keep_events[kind])]))
  return {
    maxAge: text(policy.max_age_days),
    maxSize: policy.max_size_bytes === null ? '' : String(policy.max_size_bytes / GIGABYTE),
    events: events as Record<EventKind, string>,
    before: text(policy.event_before_s),
    after: text(policy.event_after_s),
  }
}

/** Null where a number makes no sense. */
export function toPolicy(form: PolicyForm): RetentionPolicy | null {
  const age = whole(form.maxAge, 1)
  const size = number(form.maxSize)
  const before = whole(form.before, 0)
  const after = whole(form.after, 0)
  const days = EVENT_KINDS.map((kind) => [kind, whole(form.events[kind], 1)] as const)
  const all = [age, size, before, after, ...days.map(([, value]) => value)]
  if (all.some((value) => Number.isNaN(value))) return null
  return {
    max_age_days: age,
    max_size_bytes: size === null ? null : Math.round(size * GIGABYTE),
    keep_events: Object.fromEntries(days.filter(([, value]) => value !== null)),
    event_before_s: before,
    event_after_s: after,
  }
}

function number(text: string): number | null {
  if (text.trim() === '') return null
  const value = Number(text)
  return value >= 0 ? value : Number.NaN
}

function whole(text: string, least: number): number | null {
  const value = number(text)
  return value === null || (Number.isInteger(value) && value >= least) ? value : Number.NaN
}

/** Whose bound it is: `own` where it is that of `subject` itself. */
export function sourceOf(retention: Retention, bound: string, subject: string): 'own' | 'settings' | string {
  const source = retention.sources[bound] ?? 'settings'
  return source === subject ? 'own' : source
}
