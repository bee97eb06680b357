/** What a person pastes or uploads, as the body of a survey. */
import type { NewSurvey } from './types'

/** The server takes no longer body. */
export const MOST_TEXT = 200_000

/**
 * A table is what has a line that names a column `address`, or cells that are no addresses: a user name taken for a
 * host would be looked for in the network.
 */
export function isTable(text: string): boolean {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  if (/(^|[,;\t])\s*address\s*([,;\t]|$)/i.test(lines[0] ?? '')) return true
  return lines.some((line) => cells(line).slice(1).some((cell) => !/[.:]/.test(cell)))
}

function cells(line: string): string[] {
  return line
    .split(/[,;\t]/)
    .map((cell) => cell.trim())
    .filter((cell) => cell !== '')
}

/** `uploaded` files are always tables. */
export function toNewSurvey(text: string, uploaded: boolean, username: string, password: string): NewSurvey {
  const body: NewSurvey = uploaded || isTable(text) ? { table: text } : { addresses: text }
  if (username) body.username = username
  if (password) body.password = password
  return body
}
