/** Numbers, sizes and times as a person of the chosen language reads them. */

export function formatTime(ms: number, locale: string, seconds = true): string {
  return new Date(ms).toLocaleTimeString(locale, {
    hour: '2-digit',
    minute: '2-digit',
    ...(seconds ? { second: '2-digit' } : {}),
    hour12: false,
  })
}

export function formatDateTime(ms: number, locale: string): string {
  return `${formatDate(ms, locale)} ${formatTime(ms, locale)}`
}

export function formatDate(ms: number, locale: string): string {
  return new Date(ms).toLocaleDateString(locale, { day: '2-digit', month: '2-digit', year: 'numeric' })
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
  return `${value.toLocaleString(locale, { maximumFractionDigits: digits })} ${units[unit]}`
}

/** 2 d 3 h, 5 min 20 s, 0.4 s: the two largest units, in symbols both languages read. */
export function formatDuration(seconds: number, locale: string): string {
  if (seconds < 10) return `${seconds.toLocaleString(locale, { maximumFractionDigits: 1 })} s`
  const total = Math.round(seconds)
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
  return floored.toLocaleString(locale, { style: 'percent', maximumFractionDigits: 1 })
}

export function formatBitrate(bitsPerSecond: number, locale: string): string {
  if (bitsPerSecond < 1_000_000) return `${Math.round(bitsPerSecond / 1000).toLocaleString(locale)} kbit/s`
  return `${(bitsPerSecond / 1e6).toLocaleString(locale, { maximumFractionDigits: 1 })} Mbit/s`
}

const CODEC_TITLES: Readonly<Record<string, string>> = {
  h264: 'H.264',
  h265: 'H.265',
  pcma: 'G.711 A-law',
  pcmu: 'G.711 µ-law',
  g711: 'G.711',
  aac: 'AAC',
}

/** The name of a codec as cameras' menus write it. */
export function codecTitle(codec: string): string {
  return CODEC_TITLES[codec.toLowerCase().replace(/[.-]/g, '')] ?? codec
}
