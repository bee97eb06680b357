/** Whether something is looked at: pictures that nobody sees cost the server, the line and the decoder as much as others. */
import { useEffect, useState } from 'preact/hooks'

/** A tile scrolled out of view keeps its stream this long, so that scrolling back and forth costs no joins. */
const LINGER_MS = 5000
/** A page behind another one, or on a screen that is off. */
const HIDDEN_MS = 20_000

export function useInView(element: { current: HTMLElement | null }): boolean {
  const [inView, setInView] = useState(false)
  useEffect(() => {
    if (!element.current) return undefined
    let leaving: ReturnType<typeof setTimeout> | undefined
    const observer = new IntersectionObserver(
      (entries) => {
        clearTimeout(leaving)
        if (entries.at(-1)?.isIntersecting) setInView(true)
        else leaving = setTimeout(() => setInView(false), LINGER_MS)
      },
      { rootMargin: '200px' },
    )
    observer.observe(element.current)
    return () => {
      clearTimeout(leaving)
      observer.disconnect()
    }
  }, [])
  return inView
}

/** False once the whole page was hidden for a while. */
export function usePageSeen(): boolean {
  const [isSeen, setSeen] = useState(true)
  useEffect(() => {
    let hiding: ReturnType<typeof setTimeout> | undefined
    const update = () => {
      clearTimeout(hiding)
      if (document.visibilityState === 'visible') setSeen(true)
      else hiding = setTimeout(() => setSeen(false), HIDDEN_MS)
    }
    document.addEventListener('visibilitychange', update)
    update()
    return () => {
      clearTimeout(hiding)
      document.removeEventListener('visibilitychange', update)
    }
  }, [])
  return isSeen
}
