/** Keys of the whole page, as players have them. */
import { useEffect, useRef } from 'preact/hooks'

/** What has the focus and wants the key itself keeps it. */
export function useKeys(actions: Record<string, () => unknown>): void {
  const latest = useRef(actions)
  latest.current = actions
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const taken = event.target instanceof Element && event.target.closest('a, button, input, select, summary, dialog')
      const action = latest.current[event.key.toLowerCase()]
      if (!action || taken || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      action()
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
}
