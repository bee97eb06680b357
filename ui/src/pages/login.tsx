import { useState } from 'preact/hooks'
import { api, ApiError } from '../api'
import { Notice } from '../components/feedback'
import { Field, PasswordField } from '../components/fields'
import { LanguageSwitch } from '../components/header'
import { useTexts } from '../i18n'
import type { Session } from '../types'

export function LoginPage({ ended, onSession }: { ended: boolean; onSession: (session: Session) => void }) {
  const { t, explain } = useTexts()
  const [username, setUsername] = useState('')
  const [password, setPassword] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)

  async function submit(event: Event) {
    event.preventDefault()
    setBusy(true)
    setError(null)
    try {
      onSession(await api.login(username, password))
    } catch (reason) {
      setError(reason)
      setBusy(false)
    }
  }

  const wrong = error instanceof ApiError && error.status === 401
  return (
    <main class="centre">
      <form class="card card-narrow" onSubmit={(event) => void submit(event)} data-testid="login">
        <FrontHead title={t('login.title')} lead={t('login.lead')} />
        {error !== null && <Notice kind="bad">{wrong ? t('login.wrong') : explain(error)}</Notice>}
        {error === null && ended && <Notice kind="info">{t('login.ended')}</Notice>}
        <Field
          label={t('login.username')}
          name="username"
          value={username}
          onInput={setUsername}
          autoComplete="username"
          required
          autoFocus
        />
        <PasswordField
          label={t('login.password')}
          name="password"
          value={password}
          onInput={setPassword}
          autoComplete="current-password"
          required
        />
        <button type="submit" class="button button-primary" disabled={busy}>
          {t(busy ? 'login.busy' : 'login.submit')}
        </button>
        <p class="fine">{t('login.note')}</p>
      </form>
    </main>
  )
}

/** Title of the pages one sees before having an account. */
export function FrontHead({ title, lead }: { title: string; lead: string }) {
  const { t } = useTexts()
  return (
    <div class="front-head">
      <div class="front-brand">
        <svg viewBox="0 0 32 32" width="36" height="36" aria-hidden="true">
          <circle cx="16" cy="16" r="11" class="brand-ring" />
          <circle cx="16" cy="16" r="4.5" class="brand-dot" />
        </svg>
        <span>{t('app.name')}</span>
        <LanguageSwitch />
      </div>
      <h1>{title}</h1>
      <p class="lead">{lead}</p>
    </div>
  )
}
