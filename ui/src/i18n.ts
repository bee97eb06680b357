/** The language of the page: remembered, Vietnamese unless chosen otherwise. Texts are in texts-vi.ts and texts-en.ts. */
import { useEffect, useState } from 'preact/hooks'
import { ApiError } from './api'
import { readStored, store } from './stored'
import { en } from './texts-en'
import { type MessageKey, vi } from './texts-vi'
import type { Gap, Reason } from './types'

export type Language = 'vi' | 'en'
export type Parameters = Readonly<Record<string, string | number>>

const STORAGE_KEY = 'mediasrv.language'
const TABLES: Record<Language, Record<MessageKey, string>> = { vi, en }
const LOCALES: Record<Language, string> = { vi: 'vi-VN', en: 'en-GB' }

/** Replaces `{name}` by its parameter; an unknown name stays visible, which a test would catch. */
export function fill(template: string, parameters: Parameters = {}): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => String(parameters[name] ?? whole))
}

/** The text of `key` in `language`. */
export function translate(language: Language, key: MessageKey, parameters?: Parameters): string {
  return fill(TABLES[language][key], parameters)
}

/** The key if the table has it: for codes that come from the server. */
export function knownKey(key: string): MessageKey | null {
  return Object.hasOwn(vi, key) ? (key as MessageKey) : null
}

let current: Language = 'vi'
const listeners = new Set<(language: Language) => void>()

/** Takes `wished`, or the remembered choice; called once before the first render. */
export function initLanguage(wished: Language | null = null): void {
  apply(wished ?? remembered() ?? 'vi')
}

function remembered(): Language | null {
  const stored = readStored(STORAGE_KEY)
  return stored === 'en' || stored === 'vi' ? stored : null
}

export function setLanguage(language: Language): void {
  store(STORAGE_KEY, language)
  apply(language)
  for (const listener of listeners) listener(language)
}

function apply(language: Language): void {
  current = language
  document.documentElement.lang = language
}

export interface Translator {
  language: Language
  locale: string
  t: (key: MessageKey, parameters?: Parameters) => string
  /** A server's reason as a sentence in this language. */
  sentence: (reason: Pick<Reason | Gap, 'sentence' | 'sentence_vi'>) => string
  /** Whatever was thrown as a sentence in this language. */
  explain: (error: unknown) => string
}

/** The texts of one language, without a component around. */
export function translator(language: Language): Translator {
  return {
    language,
    locale: LOCALES[language],
    t: (key, parameters) => translate(language, key, parameters),
    sentence: (reason) => (language === 'vi' && reason.sentence_vi) || reason.sentence,
    explain: (error) => explain(language, error),
  }
}

/** The texts of the page's language as it is now. */
export const currentTexts = (): Translator => translator(current)

function explain(language: Language, error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
  const key = knownKey(`error.${error.code}`)
  if (language === 'vi') return error.detailVi ?? (key ? translate('vi', key) : error.detail)
  return error.status === 0 && key ? translate('en', key) : error.detail
}

/** Texts in the current language; the component renders again when it changes. */
export function useTexts(): Translator {
  const [language, change] = useState(current)
  useEffect(() => {
    listeners.add(change)
    return () => void listeners.delete(change)
  }, [])
  return translator(language)
}
