/** A text to be taken elsewhere: shown whole, copied by a button. */
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { useTexts } from '../i18n'
import { Icon } from './icon'

const TOLD_MS = 3000

export function CopyField({ label, name, value }: { label: string; name: string; value: string }) {
  const { t } = useTexts()
  const id = useId()
  const text = useRef<HTMLTextAreaElement>(null)
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return undefined
    const timer = setTimeout(() => setCopied(false), TOLD_MS)
    return () => clearTimeout(timer)
  }, [copied])
  useEffect(() => setCopied(false), [value])
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="field-with-button">
        <textarea
          ref={text}
          id={id}
          class="copied-text"
          name={name}
          rows={1}
          value={value}
          readOnly
          spellcheck={false}
          onFocus={(event) => event.currentTarget.select()}
        />
        <button
          type="button"
          class="button button-quiet"
          aria-label={`${t('app.copy')}: ${label}`}
          title={t('app.copy')}
          data-testid={`copy-${name}`}
          onClick={() => void (text.current && copy(text.current).then(setCopied))}
        >
          <Icon name={copied ? 'check' : 'copy'} />
        </button>
      </div>
      <span class="sr-only" role="status">
        {copied && t('app.copied')}
      </span>
    </div>
  )
}

/** False where the browser allows neither way: the text is selected then, to be copied by hand. */
async function copy(text: HTMLTextAreaElement): Promise<boolean> {
  text.select()
  try {
    await navigator.clipboard.writeText(text.value)
    return true
  } catch {
    return document.execCommand('copy') // pages over plain HTTP have no clipboard
  }
}
