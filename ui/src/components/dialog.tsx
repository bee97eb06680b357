/** A modal dialog: the browser's own, so focus and Escape behave. */
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { useTexts } from '../i18n'
import { useSubmit } from '../submit'
import { Notice } from './feedback'
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

interface ConfirmDialogProps {
  /** Of what is confirmed, for test ids. */
  name: string
  title: string
  confirm: string
  action: () => Promise<unknown>
  onClose: () => void
  /** What it means, in a sentence or two. */
  children: ComponentChildren
}

interface DialogActionsProps {
  submit: string
  testId: string
  disabled: boolean
  danger?: boolean
  onClose: () => void
}

/** The last line of a form in a dialog: away, or do it. */
export function DialogActions({ submit, testId, disabled, danger = false, onClose }: DialogActionsProps) {
  const { t } = useTexts()
  return (
    <div class="dialog-actions">
      <button type="button" class="button" onClick={onClose}>
        {t('app.cancel')}
      </button>
      <button
        type="submit"
        class={`button ${danger ? 'button-danger' : 'button-primary'}`}
        data-testid={testId}
        disabled={disabled}
      >
        {submit}
      </button>
    </div>
  )
}

/** Asks before what cannot be undone; closes once it is done. */
export function ConfirmDialog({ name, title, confirm, action, onClose, children }: ConfirmDialogProps) {
  const { t, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  return (
    <Dialog title={title} onClose={onClose} testId={`${name}-dialog`}>
      <p>{children}</p>
      {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onClose}>
          {t('app.cancel')}
        </button>
        <button
          type="button"
          class="button button-danger"
          data-testid={`confirm-${name}`}
          disabled={busy}
          onClick={() => submit(() => action().then(onClose))}
        >
          {confirm}
        </button>
      </div>
    </Dialog>
  )
}
