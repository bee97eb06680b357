import { useState } from 'preact/hooks'
import { api } from '../api'
import { Notice } from '../components/feedback'
import { PasswordField } from '../components/fields'
import { FrontForm, type Login } from '../components/front'
import { useTexts } from '../i18n'
import { useSubmit } from '../submit'

const LEAST_LENGTH = 12

export function InvitePage({ token }: { token: string }) {
  const { t, explain } = useTexts()
  const [repeated, setRepeated] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const { busy, error, submit } = useSubmit()

  const accept = ({ username, password }: Login) => {
    const short = password.length < LEAST_LENGTH
    const wrong = short ? t('invite.short', { count: LEAST_LENGTH }) : password === repeated ? null : t('invite.mismatch')
    setProblem(wrong)
    if (wrong) return
    submit(async () => {
      await api.acceptInvite(token, username, password)
      // the account is logged in with it; the link must not stay in the history
      location.replace('/')
    })
  }

  const shown = problem ?? (error === null ? null : explain(error))
  return (
    <FrontForm
      title={t('invite.title')}
      lead={t('invite.lead')}
      testId="invite"
      passwordKind="new-password"
      button={t(busy ? 'invite.busy' : 'invite.submit')}
      busy={busy}
      notice={shown && <Notice kind="bad">{shown}</Notice>}
      onSubmit={accept}
    >
      <PasswordField
        label={t('invite.repeat')}
        name="repeat"
        value={repeated}
        onInput={setRepeated}
        autoComplete="new-password"
        required
      />
    </FrontForm>
  )
}
