/** A modal dialog: the browser's own, so focus and Escape behave. */
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { useTexts } from '../i18n'
import { Icon } from './icon'

interface DialogProps {
  title: string
  onClose: () => void
  testId?: string
  children: ComponentChildren
}

export function Dialog({ title, onClose, testId, children }: DialogProps) {
  const { t } = useTexts()
  const id = useId()
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => element.current?.showModal(), [])
  return (
    <dialog ref={element} class="dialog" aria-labelledby={id} onClose={onClose} data-testid={testId}>
      <div class="dialog-head">
        <h2 id={id}>{title}</h2>
        <button
          type="button"
          class="button button-quiet"
          aria-label={t('app.close')}
          onClick={() => element.current?.close()}
        >
          <Icon name="close" />
        </button>
      </div>
      <div class="dialog-body">{children}</div>
    </dialog>
  )
}
