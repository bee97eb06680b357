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
  const [step, setStep] = useState<'asking' | 'busy' | 'done'>('asking')

  async function submit(event: Event) {
    event.preventDefault()
    if (password.length < LEAST_LENGTH) return setProblem(t('invite.short', { count: LEAST_LENGTH }))
    if (password !== repeated) return setProblem(t('invite.mismatch'))
    setProblem(null)
    setStep('busy')
    try {
      await api.acceptInvite(token, username, password)
      setStep('done')
    } catch (error) {
      setProblem(explain(error))
      setStep('asking')
    }
  }

  if (step === 'done')
    return (
      <main class="centre">
        <div class="card card-narrow">
          <FrontHead title={t('invite.title')} lead={t('login.lead')} />
          <Notice kind="good">{t('invite.done')}</Notice>
          <a class="button button-primary" href="/">
            {t('invite.toLogin')}
          </a>
        </div>
      </main>
    )
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
        <button type="submit" class="button button-primary" disabled={step === 'busy'}>
          {t('invite.submit')}
        </button>
      </form>
    </main>
  )
}
