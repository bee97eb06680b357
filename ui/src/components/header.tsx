/** The bar above every page: navigation, language, account and the purpose of its grants. */
import { useEffect, useRef } from 'preact/hooks'
import { formatDateTime } from '../format'
import { type Language, knownKey, setLanguage, useTexts } from '../i18n'
import { type Route, href } from '../router'
import { may, mayKeep, useSession } from '../session'
import type { Grant } from '../types'
import { Icon, type IconName } from './icon'

export function Header({ route, onLogout }: { route: Route; onLogout: () => void }) {
  const { t } = useTexts()
  const session = useSession()
  const within: Partial<Record<Route['page'], Route['page']>> = { camera: 'wall', survey: 'cameras' }
  const at = (page: Route['page']) => (within[route.page] ?? route.page) === page
  return (
    <header class="header">
      <a class="brand" href={href.wall} aria-label={t('app.name')}>
        <Brand size={26} />
      </a>
      <nav class="nav" aria-label={t('nav.label')}>
        <NavLink to={href.wall} icon="wall" text={t('nav.wall')} active={at('wall')} />
        {may(session, 'footage.view') && (
          <NavLink to={href.footage([])} icon="play" text={t('nav.footage')} active={at('footage')} />
        )}
        {may(session, 'camera.manage') && (
          <NavLink to={href.cameras} icon="camera" text={t('nav.cameras')} active={at('cameras')} />
        )}
        {mayKeep(session) && (
          <NavLink to={href.retention} icon="lock" text={t('nav.retention')} active={at('retention')} />
        )}
        {may(session, 'footage.export') && (
          <NavLink to={href.exports} icon="download" text={t('nav.exports')} active={at('exports')} />
        )}
        {may(session, 'access_log.read') && (
          <NavLink to={href.accessLog} icon="list" text={t('nav.accessLog')} active={at('access-log')} />
        )}
        {may(session, 'system.read') && (
          <NavLink to={href.status} icon="gauge" text={t('nav.status')} active={at('status')} />
        )}
      </nav>
      <div class="header-end">
        <Purpose grants={session.grants} />
        <LanguageSwitch />
        <Account onLogout={onLogout} />
      </div>
    </header>
  )
}

export function Brand({ size }: { size: number }) {
  const { t } = useTexts()
  return (
    <>
      <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden="true">
        <circle cx="16" cy="16" r="11" class="brand-ring" />
        <circle cx="16" cy="16" r="4.5" class="brand-dot" />
      </svg>
      <span>{t('app.name')}</span>
    </>
  )
}

function NavLink(props: { to: string; icon: IconName; text: string; active: boolean }) {
  return (
    <a class="nav-link" href={props.to} aria-current={props.active ? 'page' : undefined} title={props.text}>
      <Icon name={props.icon} />
      <span>{props.text}</span>
    </a>
  )
}

/** Why this account may look at all: shown, so that nobody forgets. */
function Purpose({ grants }: { grants: Grant[] }) {
  const { t } = useTexts()
  const purposes = [...new Set(grants.map((grant) => grant.purpose).filter(Boolean))]
  if (purposes.length === 0) return null
  return <span class="purpose">{t('nav.purpose', { purpose: purposes.join(', ') })}</span>
}

export function LanguageSwitch() {
  const { t, language } = useTexts()
  const other: Language = language === 'vi' ? 'en' : 'vi'
  return (
    <button
      type="button"
      class="button button-quiet"
      lang={other}
      title={t('nav.languageHint')}
      data-testid="language"
      onClick={() => setLanguage(other)}
    >
      {t('nav.language')}
    </button>
  )
}

/** A menu closes when one presses Escape, or anywhere else. */
function useClosing(menu: { current: HTMLDetailsElement | null }): void {
  useEffect(() => {
    const close = (event: Event) => {
      const element = menu.current
      if (!element?.open) return
      if (event instanceof KeyboardEvent) {
        if (event.key !== 'Escape') return
        element.querySelector('summary')?.focus()
      } else if (element.contains(event.target as Node)) return
      element.open = false
    }
    document.addEventListener('pointerdown', close)
    document.addEventListener('keydown', close)
    return () => {
      document.removeEventListener('pointerdown', close)
      document.removeEventListener('keydown', close)
    }
  }, [])
}

function Account({ onLogout }: { onLogout: () => void }) {
  const { t, locale } = useTexts()
  const session = useSession()
  const roleName = (grant: Grant) => {
    const key = knownKey(`role.${grant.role}`)
    const until = grant.ends_at ? ` ${t('nav.until', { time: formatDateTime(Date.parse(grant.ends_at), locale) })}` : ''
    return `${key ? t(key) : grant.role} · ${grant.place}${until}`
  }
  const menu = useRef<HTMLDetailsElement>(null)
  useClosing(menu)
  return (
    <details class="menu" ref={menu}>
      <summary class="button button-quiet" aria-label={t('nav.account')} data-testid="account">
        <Icon name="person" />
        <span>{session.principal.username}</span>
      </summary>
      <div class="menu-body">
        <p class="menu-title">{t('nav.roles')}</p>
        <ul>
          {session.grants.map((grant, index) => (
            <li key={index}>{roleName(grant)}</li>
          ))}
        </ul>
        <Purpose grants={session.grants} />
        <a class="button" href={href.otherSystems} onClick={() => menu.current?.removeAttribute('open')} data-testid="other-systems">
          <Icon name="plug" />
          {t('others.title')}
        </a>
        <button type="button" class="button" onClick={onLogout} data-testid="logout">
          {t('nav.logout')}
        </button>
      </div>
    </details>
  )
}
