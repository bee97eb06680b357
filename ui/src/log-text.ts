/** What an entry of the access log says, in the reader's language. Pure. What has no words yet stays as it was written. */
import { formatBytes, formatDateTime, formatSpan } from './format'
import { knownKey, type Translator } from './i18n'

type Texts = Pick<Translator, 't' | 'locale'>

const ISO_TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)/g
const SPAN = new RegExp(`(${ISO_TIME.source}) (${ISO_TIME.source})`, 'g')

/** What was done to: times in it as local ones, a span of one day with its date once. */
export function subjectText(subject: string, texts: Texts): string {
  return word(subject, texts)
    .replace(SPAN, (_, start: string, end: string) => formatSpan(Date.parse(start), Date.parse(end), texts.locale))
    .replace(ISO_TIME, (time) => formatDateTime(Date.parse(time), texts.locale))
}

/** `name value, name value`: what the entry adds. */
export function detailText(detail: unknown, texts: Texts): string {
  if (detail === null || detail === undefined) return ''
  if (typeof detail !== 'object') return String(detail)
  return Object.entries(detail)
    .filter(([name]) => name !== 'receipt') // signed, to be read by `mediasrv keys verify-receipt`
    .filter(([name, value]) => value !== null || name.startsWith('max_'))
    .map(([name, value]) => `${fieldName(name, texts)} ${valueText(name, value, texts)}`)
    .join(', ')
}

function fieldName(name: string, { t }: Texts): string {
  const key = knownKey(`log.field.${name}`)
  return key ? t(key) : name.replaceAll('_', ' ')
}

function valueText(name: string, value: unknown, texts: Texts): string {
  if (value === null) return texts.t('log.value.default')
  if (Array.isArray(value)) return value.map((item) => fieldName(String(item), texts)).join(', ')
  if (typeof value === 'object') return `(${detailText(value, texts)})`
  if (typeof value === 'number') return numberText(name, value, texts)
  return subjectText(String(value), texts)
}

function numberText(name: string, value: number, { t, locale }: Texts): string {
  if (name === 'max_size_bytes' && value === 0) return t('retention.noLimit')
  if (name.endsWith('_bytes')) return formatBytes(value, locale)
  return name.endsWith('_us') ? formatDateTime(value / 1000, locale) : String(value)
}

/** A name that the server gives to somebody or something. */
export function word(text: string, { t }: Texts): string {
  const key = knownKey(`log.value.${text}`) ?? knownKey(`role.${text}`)
  return key ? t(key) : text
}
