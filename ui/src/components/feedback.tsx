/** Loading, empty and error states. */
import type { ComponentChildren } from 'preact'
import { useTexts } from '../i18n'
import { type Poller, usePolled } from '../poller'
import { Icon } from './icon'

export function Loading() {
  const { t } = useTexts()
  return (
    <div class="loading" role="status">
      <span class="spinner" aria-hidden="true" />
      {t('app.loading')}
    </div>
  )
}

interface NoticeProps {
  kind: 'good' | 'warn' | 'bad' | 'info'
  /** The stable code, small beside the sentence. */
  code?: string | undefined
  onRetry?: () => void
  testId?: string
  children: ComponentChildren
}

export function Notice({ kind, code, onRetry, testId, children }: NoticeProps) {
  const { t } = useTexts()
  return (
    <div class={`notice notice-${kind}`} role={kind === 'bad' ? 'alert' : 'status'} data-testid={testId}>
      <Icon name={kind === 'good' ? 'check' : kind === 'info' ? 'info' : 'warning'} />
      <div class="notice-text">
        {children}
        {code && <code class="code">{code}</code>}
      </div>
      {onRetry && (
        <button type="button" class="button" onClick={onRetry}>
          {t('app.retry')}
        </button>
      )}
    </div>
  )
}

/** What stands for a value, or above it, that is asked for again and again: none yet, or the last attempt failed. */
export function PollNotice<T>({ poller }: { poller: Poller<T> }) {
  const { t, explain } = useTexts()
  const { value, error } = usePolled(poller)
  if (error === null) return value === null ? <Loading /> : null
  return (
    <Notice kind={value === null ? 'bad' : 'warn'} onRetry={() => poller.refresh()}>
      {value === null ? explain(error) : t('app.offline')}
    </Notice>
  )
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty" data-testid="empty">
      <Icon name="camera" />
      <p class="empty-title">{title}</p>
      {children}
    </div>
  )
}
