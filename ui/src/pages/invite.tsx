import { useState } from 'preact/hooks'
import { api } from '../api'
import { Notice } from '../components/feedback'
import { Field, PasswordField } from '../components/fields'
import { useTexts } from '../i18n'
import { FrontHead } from './login'

const LEAST_LENGTH = 12

export function InvitePage({ token }: { token: string }) {
  const { t, explain } = useTexts()
  const [username, setUsername] = useState('')
  const [password, setPassword] = useState('')
  const [repeated, setRepeated] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)

  async function submit(event: Event) {
    event.preventDefault()
    if (password.length < LEAST_LENGTH) return setProblem(t('invite.short', { count: LEAST_LENGTH }))
    if (password !== repeated) return setProblem(t('invite.mismatch'))
    setProblem(null)
    setBusy(true)
    try {
      await api.acceptInvite(token, username, password)
      // the account is logged in with it; the link must not stay in the history
      location.replace('/')
    } catch (error) {
      setProblem(explain(error))
      setBusy(false)
    }
  }

  return (
    <main class="centre">
      <form class="card card-narrow" onSubmit={(event) => void submit(event)} data-testid="invite">
        <FrontHead title={t('invite.title')} lead={t('invite.lead')} />
        {problem && <Notice kind="bad">{problem}</Notice>}
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
          autoComplete="new-password"
          required
        />
        <PasswordField
          label={t('invite.repeat')}
          name="repeat"
          value={repeated}
          onInput={setRepeated}
          autoComplete="new-password"
          required
        />
        <button type="submit" class="button button-primary" disabled={busy}>
          {t('invite.submit')}
        </button>
      </form>
    </main>
  )
}
