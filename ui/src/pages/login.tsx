import { api, ApiError } from '../api'
import { Notice } from '../components/feedback'
import { FrontForm } from '../components/front'
import { useTexts } from '../i18n'
import { useSubmit } from '../submit'
import type { Session } from '../types'

export function LoginPage({ ended, onSession }: { ended: boolean; onSession: (session: Session) => void }) {
  const { t, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  const wrong = error instanceof ApiError && error.status === 401
  return (
    <FrontForm
      title={t('login.title')}
      lead={t('login.lead')}
      testId="login"
      passwordKind="current-password"
      button={t(busy ? 'login.busy' : 'login.submit')}
      busy={busy}
      notice={
        error !== null ? (
          <Notice kind="bad">{wrong ? t('login.wrong') : explain(error)}</Notice>
        ) : (
          ended && <Notice kind="info">{t('login.ended')}</Notice>
        )
      }
      foot={<p class="fine">{t('login.note')}</p>}
      onSubmit={({ username, password }) => submit(async () => onSession(await api.login(username, password)))}
    />
  )
}
