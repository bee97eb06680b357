/** The shell: who is logged in, which page is shown, and the bar above it. */
import { useEffect, useState } from 'preact/hooks'
import { api, ApiError, onUnauthenticated } from './api'
import { Empty, Loading, Notice } from './components/feedback'
import { Header } from './components/header'
import { useTexts } from './i18n'
import { AccessLogPage } from './pages/access-log'
import { CameraPage } from './pages/camera'
import { CamerasPage } from './pages/cameras'
import { ExportsPage } from './pages/exports'
import { FootagePage } from './pages/footage'
import { InvitePage } from './pages/invite'
import { LoginPage } from './pages/login'
import { OtherSystemsPage } from './pages/other-systems'
import { RetentionPage } from './pages/retention'
import { StatusPage } from './pages/status'
import { SurveyPage } from './pages/survey'
import { WallPage } from './pages/wall'
import { href, type Route, useRoute } from './router'
import { may, mayKeep, SessionContext } from './session'
import { forgetEverything } from './stores'
import type { Permission, Session } from './types'
import { nextAfterLogin } from './watch-options'

type Account =
  | { kind: 'asking' }
  | { kind: 'nobody'; ended: boolean }
  | { kind: 'somebody'; session: Session }
  | { kind: 'failed'; error: unknown }

export function App() {
  const route = useRoute()
  if (route.page === 'invite') return <InvitePage token={route.token} />
  return <Guarded route={route} />
}

function Guarded({ route }: { route: Route }) {
  const { t, explain } = useTexts()
  const [account, setAccount] = useAccount()
  const next = nextAfterLogin(location.search)
  useEffect(() => {
    if (next && account.kind === 'somebody') location.replace(next)
  }, [account.kind])
  switch (account.kind) {
    case 'asking':
      return <Loading />
    case 'failed':
      return (
        <main class="centre">
          <Notice kind="bad" onRetry={() => setAccount({ kind: 'asking' })}>
            {explain(account.error)}
          </Notice>
        </main>
      )
    case 'nobody':
      return <LoginPage ended={account.ended} onSession={(session) => setAccount({ kind: 'somebody', session })} />
    case 'somebody':
      if (next) return <Loading />
      return (
        <SessionContext.Provider value={account.session}>
          <a class="skip" href="#main" onClick={focusMain}>
            {t('app.skip')}
          </a>
          <Header route={route} onLogout={() => void logout(setAccount)} />
          <main id="main" tabIndex={-1}>
            <Page route={route} session={account.session} />
          </main>
        </SessionContext.Provider>
      )
  }
}

/** A link to `#main` would be taken for a route. */
function focusMain(event: Event): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

function useAccount(): [Account, (account: Account) => void] {
  const [account, setAccount] = useState<Account>({ kind: 'asking' })
  useEffect(() => {
    if (account.kind !== 'asking') return undefined
    const abort = new AbortController()
    api.session(abort.signal).then(
      (session) => setAccount({ kind: 'somebody', session }),
      (error: unknown) => {
        if (abort.signal.aborted) return
        const unknown = error instanceof ApiError && error.status === 401
        setAccount(unknown ? { kind: 'nobody', ended: false } : { kind: 'failed', error })
      },
    )
    return () => abort.abort()
  }, [account.kind])
  useEffect(
    () =>
      onUnauthenticated(() => {
        forgetEverything()
        setAccount({ kind: 'nobody', ended: true })
      }),
    [],
  )
  return [account, setAccount]
}

async function logout(setAccount: (account: Account) => void): Promise<void> {
  await api.logout().catch(() => undefined) // gone already is as good as gone now
  forgetEverything()
  setAccount({ kind: 'nobody', ended: false })
}

const NEEDED: Partial<Record<Route['page'], Permission>> = {
  cameras: 'camera.manage',
  survey: 'camera.manage',
  exports: 'footage.export',
  'access-log': 'access_log.read',
  status: 'system.read',
}

function Page({ route, session }: { route: Route; session: Session }) {
  const { t } = useTexts()
  const needed = NEEDED[route.page]
  if (needed && !may(session, needed)) return <Notice kind="warn">{t('app.noRight')}</Notice>
  switch (route.page) {
    case 'wall':
      return <WallPage />
    case 'camera':
      return <CameraPage key={route.id} id={route.id} atMs={route.atMs} />
    case 'footage':
      return <FootagePage ids={route.ids} atMs={route.atMs} />
    case 'cameras':
      return <CamerasPage />
    case 'survey':
      return <SurveyPage />
    case 'exports':
      return <ExportsPage />
    case 'access-log':
      return <AccessLogPage />
    case 'retention':
      return mayKeep(session) ? <RetentionPage /> : <Notice kind="warn">{t('app.noRight')}</Notice>
    case 'status':
      return <StatusPage />
    case 'other-systems':
      return <OtherSystemsPage />
    default:
      return (
        <Empty title={t('app.notFound')}>
          <a class="button" href={href.wall}>
            {t('app.toWall')}
          </a>
        </Empty>
      )
  }
}
