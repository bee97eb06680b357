/** A local date and time to the second; null where it is empty. */
import { useId } from 'preact/hooks'

interface TimeFieldProps {
  label: string
  name: string
  ms: number | null
  onChange: (ms: number | null) => void
  hint?: string
}

export function TimeField({ label, name, ms, onChange, hint }: TimeFieldProps) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        type="datetime-local"
        step="1"
        value={ms === null ? '' : localTime(ms)}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event) => {
          const value = Date.parse(event.currentTarget.value)
          onChange(Number.isNaN(value) ? null : value)
        }}
      />
      {hint && (
        <p class="field-hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  )
}

/** The local time as these inputs want it. */
function localTime(ms: number): string {
  const date = new Date(ms)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}
