/** Numbers, sizes and times as a person of the chosen language reads them. */

type Make<T> = (locale: string) => T

/** Formatters take milliseconds to make and microseconds to use, and a page formats on every render. */
function perLocale<T>(make: Make<T>): Make<T> {
  const made = new Map<string, T>()
  return (locale) => {
    let formatter = made.get(locale)
    if (formatter === undefined) made.set(locale, (formatter = make(locale)))
    return formatter
  }
}

const CLOCK = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const minutes = perLocale((locale) => new Intl.DateTimeFormat(locale, CLOCK))
const seconds = perLocale((locale) => new Intl.DateTimeFormat(locale, { ...CLOCK, second: '2-digit' }))
const days = perLocale(
  (locale) => new Intl.DateTimeFormat(locale, { day: '2-digit', month: '2-digit', year: 'numeric' }),
)
const whole = perLocale((locale) => new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }))
const tenths = perLocale((locale) => new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }))
const hundredths = perLocale((locale) => new Intl.NumberFormat(locale, { maximumFractionDigits: 2 }))
const percents = perLocale((locale) => new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 }))

export function formatTime(ms: number, locale: string, withSeconds = true): string {
  return (withSeconds ? seconds : minutes)(locale).format(ms)
}

export function formatDateTime(ms: number, locale: string): string {
  return `${formatDate(ms, locale)} ${formatTime(ms, locale)}`
}

/** The time alone where it is of the same day as `nowMs`. */
export function formatMoment(ms: number, nowMs: number, locale: string): string {
  return formatDate(ms, locale) === formatDate(nowMs, locale) ? formatTime(ms, locale) : formatDateTime(ms, locale)
}

/** A span of one day with its date once. */
export function formatSpan(startMs: number, endMs: number, locale: string): string {
  const sameDay = formatDate(startMs, locale) === formatDate(endMs, locale)
  return `${formatDateTime(startMs, locale)} – ${(sameDay ? formatTime : formatDateTime)(endMs, locale)}`
}

export function formatDate(ms: number, locale: string): string {
  return days(locale).format(ms)
}

/** A number with at most `digits` (0, 1 or 2) decimals. */
export function formatNumber(value: number, locale: string, digits: 0 | 1 | 2 = 0): string {
  return [whole, tenths, hundredths][digits]!(locale).format(value)
}

/** 5.25 GB style, in decimal units as storage is sold. */
export function formatBytes(bytes: number, locale: string): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${formatNumber(value, locale, digits)} ${units[unit]}`
}

/** A length in seconds as 2 d 3 h, 5 min 20 s, 0.4 s: the two largest units, in symbols both languages read. */
export function formatDuration(length: number, locale: string): string {
  if (length < 10) return `${formatNumber(length, locale, 1)} s`
  const total = Math.round(length)
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), locale.startsWith('vi') ? 'ngày' : 'd'],
    [Math.floor((total % 86_400) / 3600), locale.startsWith('vi') ? 'giờ' : 'h'],
    [Math.floor((total % 3600) / 60), locale.startsWith('vi') ? 'phút' : 'min'],
    [total % 60, locale.startsWith('vi') ? 'giây' : 's'],
  ]
  const first = parts.findIndex(([count]) => count > 0)
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ')
}

export function formatPercent(share: number, locale: string): string {
  // rounding up to a flawless 100 % would hide a gap
  const floored = Math.floor(share * 1000) / 1000
  return percents(locale).format(floored)
}

export function formatBitrate(bitsPerSecond: number, locale: string): string {
  if (bitsPerSecond < 1_000_000) return `${formatNumber(bitsPerSecond / 1000, locale)} kbit/s`
  return `${formatNumber(bitsPerSecond / 1e6, locale, 1)} Mbit/s`
}

const CODEC_TITLES: Readonly<Record<string, string>> = {
  h264: 'H.264',
  h265: 'H.265',
  pcma: 'G.711 A-law',
  pcmu: 'G.711 µ-law',
  g711: 'G.711',
  aac: 'AAC',
  opus: 'Opus',
}

/** The name of a codec as cameras' menus write it. */
export function codecTitle(codec: string): string {
  return CODEC_TITLES[codec.toLowerCase().replace(/[.-]/g, '')] ?? codec
}
