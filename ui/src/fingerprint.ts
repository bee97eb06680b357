/** Fingerprints (SHA-256) of certificates, as people read, compare and paste them. Pure. */

const DIGITS = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/

/** The fingerprint that the server's sentence about an untrusted certificate holds; null without one. */
export function fingerprintIn(sentence: string): string | null {
  return DIGITS.exec(sentence)?.[0] ?? null
}

/** 64 small hex digits; empty stays empty, and null is what is no fingerprint. Colons and blanks are no matter. */
export function parseFingerprint(text: string): string | null {
  const digits = text.toLowerCase().replace(/[:\s]/g, '').replace(/^sha256/, '')
  return digits === '' || /^[0-9a-f]{64}$/.test(digits) ? digits : null
}

/** The sentence without the fingerprint, which is shown beside it in a form that can be compared. */
export function withoutFingerprint(sentence: string): string {
  return sentence.replace(new RegExp(`\\. Its SHA-256 fingerprint is ${DIGITS.source}|: SHA-256 ${DIGITS.source}`), '')
}

/** `00:11:…`, as cameras show it. */
export function formatFingerprint(digits: string): string {
  return bytesOf(digits).join(':')
}

/** `00`, `11`, … */
export function bytesOf(digits: string): string[] {
  return digits.toUpperCase().match(/../g) ?? []
}
