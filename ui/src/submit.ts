/** What every form and confirmation does with its one request. */
import { useState } from 'preact/hooks'

export interface Submission {
  busy: boolean
  /** What the last attempt threw; null before and while one runs. */
  error: unknown
  /** Stays busy after success: what was asked for takes the form away. */
  submit: (action: () => Promise<unknown>) => void
}

export function useSubmit(): Submission {
  const [state, setState] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: null })
  const submit = (action: () => Promise<unknown>) => {
    setState({ busy: true, error: null })
    action().catch((error: unknown) => setState({ busy: false, error }))
  }
  return { ...state, submit }
}
