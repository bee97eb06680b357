/** Who is logged in. */
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { Permission, Session } from './types'

export const SessionContext = createContext<Session | null>(null)

export function useSession(): Session {
  const session = useContext(SessionContext)
  if (!session) throw new Error('this page needs a session')
  return session
}

/** Whether the account has `permission` anywhere; the server decides for each camera. */
export function may(session: Session, permission: Permission): boolean {
  return session.permissions.includes(permission)
}

/** Whether there is anything for the account on the page of retention. */
export function mayKeep(session: Session): boolean {
  return may(session, 'camera.manage') || may(session, 'hold.manage') || may(session, 'access_log.read')
}
