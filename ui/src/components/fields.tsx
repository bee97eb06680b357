/** Form fields with their label, hint and error tied together. */
import { useId, useState } from 'preact/hooks'
import { useTexts } from '../i18n'
import { Icon } from './icon'

// The types of Preact tell inputs apart by a literal `type`; where it is chosen at run time one literal stands for all.

interface FieldProps {
  label: string
  value: string
  onInput: (value: string) => void
  name: string
  hint?: string
  error?: string | null
  type?: 'text' | 'number' | 'search' | 'datetime-local'
  autoComplete?: string
  required?: boolean
  autoFocus?: boolean
  placeholder?: string
  spellcheck?: boolean
}

export function Field(props: FieldProps) {
  const id = useId()
  const described = props.error ? `${id}-error` : props.hint ? `${id}-hint` : undefined
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        id={id}
        name={props.name}
        type={(props.type ?? 'text') as 'text'}
        value={props.value}
        autoComplete={props.autoComplete ?? 'off'}
        required={props.required}
        autoFocus={props.autoFocus}
        placeholder={props.placeholder}
        spellcheck={props.spellcheck ?? false}
        step={props.type === 'number' ? 'any' : props.type === 'datetime-local' ? 1 : undefined}
        min={props.type === 'number' ? '0' : undefined}
        aria-invalid={props.error ? true : undefined}
        aria-describedby={described}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
      {props.error ? (
        <p class="field-error" id={`${id}-error`}>
          {props.error}
        </p>
      ) : (
        props.hint && (
          <p class="field-hint" id={`${id}-hint`}>
            {props.hint}
          </p>
        )
      )}
    </div>
  )
}

export function PasswordField(props: Omit<FieldProps, 'type'>) {
  const { t } = useTexts()
  const id = useId()
  const [shown, show] = useState(false)
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <div class="field-with-button">
        <input
          id={id}
          name={props.name}
          type={(shown ? 'text' : 'password') as 'password'}
          value={props.value}
          autoComplete={props.autoComplete ?? 'off'}
          required={props.required}
          placeholder={props.placeholder}
          aria-describedby={props.hint ? `${id}-hint` : undefined}
          onInput={(event) => props.onInput(event.currentTarget.value)}
        />
        <button
          type="button"
          class="button button-quiet"
          aria-pressed={shown}
          aria-label={t(shown ? 'login.hide' : 'login.show')}
          title={t(shown ? 'login.hide' : 'login.show')}
          onClick={() => show(!shown)}
        >
          <Icon name="eye" />
        </button>
      </div>
      {props.hint && (
        <p class="field-hint" id={`${id}-hint`}>
          {props.hint}
        </p>
      )}
    </div>
  )
}

interface SelectProps<T extends string> {
  label: string
  name: string
  value: T
  options: readonly (readonly [value: T, label: string])[]
  onChange: (value: T) => void
  hint?: string
  disabled?: boolean
}

export function Select<T extends string>(props: SelectProps<T>) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <select
        id={id}
        name={props.name}
        value={props.value}
        disabled={props.disabled}
        aria-describedby={props.hint ? `${id}-hint` : undefined}
        onChange={(event) => props.onChange(event.currentTarget.value as T)}
      >
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
      {props.hint && (
        <p class="field-hint" id={`${id}-hint`}>
          {props.hint}
        </p>
      )}
    </div>
  )
}

export function Checkbox(props: { label: string; name: string; checked: boolean; onChange: (on: boolean) => void }) {
  return (
    <label class="checkbox">
      <input
        type="checkbox"
        name={props.name}
        checked={props.checked}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
      <span>{props.label}</span>
    </label>
  )
}
