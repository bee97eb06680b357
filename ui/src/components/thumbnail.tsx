/** A small picture of what was recorded at a time, beside the pointer. */
import { useEffect, useState } from 'preact/hooks'

/** A pointer that only passes asks for nothing. */
const RESTS_MS = 90
/** Keyframes are about so far apart: what lies between is the same picture. */
const STEP_MS = 2000

/** What cannot be had is an empty box: the tooltip keeps its size. */
export function Thumbnail({ atMs, url }: { atMs: number; url: (atMs: number) => string }) {
  const [source, setSource] = useState<string | null>(null)
  const wanted = url(Math.floor(atMs / STEP_MS) * STEP_MS)
  useEffect(() => {
    const timer = setTimeout(() => setSource(wanted), RESTS_MS)
    return () => clearTimeout(timer)
  }, [wanted])
  return (
    <span class="thumbnail" data-testid="thumbnail">
      {source && (
        <img
          src={source}
          alt=""
          onLoad={(event) => event.currentTarget.classList.add('loaded')}
          onError={(event) => event.currentTarget.classList.remove('loaded')}
        />
      )}
    </span>
  )
}
