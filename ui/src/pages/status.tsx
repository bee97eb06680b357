/** How the node is doing: whatever the server tells, sections it names first. */
import { PollNotice } from '../components/feedback'
import { formatBytes, formatDateTime, formatDuration, formatNumber, formatTime } from '../format'
import { knownKey, type Translator, useTexts } from '../i18n'
import { usePolled } from '../poller'
import { status } from '../stores'
import type { Facts } from '../types'

/** Shown where a value is not known. */
const DASH = '–'
/** Shown in the section's head or as its meter instead. */
const HIDDEN = new Set(['condition', 'used_bytes', 'budget_bytes'])
const FIRST = ['node', 'capacity', 'streams', 'spool', 'storage', 'retention', 'access_log']

export function StatusPage() {
  const { t, locale } = useTexts()
  const { value } = usePolled(status)
  return (
    <div class="page">
      <div class="page-head">
        <h1>{t('status.title')}</h1>
        <p class="fine">{value && t('status.updated', { time: formatTime(Date.now(), locale) })}</p>
      </div>
      <PollNotice poller={status} />
      {value && <Sections facts={value} />}
    </div>
  )
}

function Sections({ facts }: { facts: Facts }) {
  const { t } = useTexts()
  const names = Object.keys(facts).sort((a, b) => rank(a) - rank(b))
  const loose = names.filter((name) => !isObject(facts[name]))
  return (
    <div class="status-grid" data-testid="status">
      {names
        .filter((name) => isObject(facts[name]))
        .map((name) => (
          <Section key={name} title={sectionTitle(name, t)} facts={facts[name] as Facts} />
        ))}
      {loose.length > 0 && (
        <Section title={t('status.other')} facts={Object.fromEntries(loose.map((name) => [name, facts[name]]))} />
      )}
    </div>
  )
}

function rank(name: string): number {
  const index = FIRST.indexOf(name)
  return index === -1 ? FIRST.length : index
}

function sectionTitle(name: string, t: Translator['t']): string {
  const key = knownKey(`status.${name}`)
  return key ? t(key) : words(name)
}

function Section({ title, facts }: { title: string; facts: Facts }) {
  const texts = useTexts()
  // no reason is good news, and needs no line
  const shown = flatten(facts).filter(([name, value]) => !HIDDEN.has(name) && !(name === 'reason' && !value))
  return (
    <section class="panel status-section">
      <div class="status-head">
        <h2>{title}</h2>
        <Condition facts={facts} />
      </div>
      <Meter facts={facts} />
      <dl class="fact-list">
        {shown.map(([name, value]) => (
          <div class="fact" key={name}>
            <dt>{fieldTitle(name, texts.t)}</dt>
            <dd>{show(name, value, texts)}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

/** Good or not, at a glance. */
function Condition({ facts }: { facts: Facts }) {
  const { t } = useTexts()
  const condition = facts['condition']
  const key = typeof condition === 'string' ? knownKey(`condition.${condition}`) : null
  if (!key) return null
  const look = { failing: 'state-retrying', broken: 'state-retrying', alarm: 'state-connecting', paused: 'state-connecting' }
  return (
    <span class={`badge ${look[condition as keyof typeof look] ?? 'state-live'}`}>
      <span class="badge-dot" aria-hidden="true" />
      {t(key)}
    </span>
  )
}

/** How full a section is, where it says what is used of how much. */
function Meter({ facts }: { facts: Facts }) {
  const { t, locale } = useTexts()
  const used = facts['used_bytes']
  const budget = facts['budget_bytes']
  if (typeof used !== 'number' || typeof budget !== 'number' || budget <= 0) return null
  const text = t('status.used', { used: formatBytes(used, locale), budget: formatBytes(budget, locale) })
  return (
    <div class="meter">
      <meter min={0} max={budget} high={budget * 0.7} optimum={0} value={used} aria-label={text} />
      <span class="fine">{text}</span>
    </div>
  )
}

/** Members of members as `outer inner`; lists as they are. */
function flatten(facts: Facts, prefix = ''): [string, unknown][] {
  return Object.entries(facts).flatMap(([name, value]): [string, unknown][] => {
    const full = prefix ? `${prefix}.${name}` : name
    return isObject(value) && !('sentence' in value) ? flatten(value, full) : [[full, value]]
  })
}

function fieldTitle(name: string, t: Translator['t']): string {
  const last = name.split('.').at(-1) ?? name
  const key = knownKey(`field.${last}`)
  return key ? t(key) : words(name.replace(/_(bytes|s|at|us)$/, ''))
}

/** A value by the unit in its name. */
function show(name: string, value: unknown, texts: Translator): string {
  const { t, locale } = texts
  if (typeof value === 'number') return showNumber(name, value, locale)
  if (typeof value === 'boolean') return t(value ? 'app.yes' : 'app.no')
  if (isObject(value)) return itemText(value, texts.sentence)
  if (Array.isArray(value)) return value.map((item) => itemText(item, texts.sentence)).join('; ') || DASH
  if (typeof value !== 'string' || value === '') return DASH
  if (name === 'incarnation') return value.slice(0, 8)
  if (name.endsWith('_at')) return formatDateTime(Date.parse(value), locale)
  const key = name.endsWith('condition') ? knownKey(`condition.${value}`) : null
  return key ? t(key) : value
}

function showNumber(name: string, value: number, locale: string): string {
  if (name.endsWith('_bytes')) return formatBytes(value, locale)
  if (name.endsWith('_s')) return formatDuration(value, locale)
  return formatNumber(value, locale, 2)
}

function itemText(item: unknown, sentence: Translator['sentence']): string {
  if (isObject(item) && typeof item['sentence'] === 'string') {
    const vietnamese = typeof item['sentence_vi'] === 'string' ? { sentence_vi: item['sentence_vi'] } : {}
    return sentence({ sentence: item['sentence'], ...vietnamese })
  }
  return isObject(item) ? JSON.stringify(item) : String(item)
}

function isObject(value: unknown): value is Facts {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function words(name: string): string {
  const text = name.replaceAll('_', ' ').replaceAll('.', ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}
