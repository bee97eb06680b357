/** The fields that adding and changing a camera have in common. */
import { useTexts } from '../i18n'
import { Checkbox, Field, PasswordField } from './fields'

interface CameraLoginProps {
  username: string
  password: string
  onChange: (changes: { username?: string; password?: string }) => void
  passwordLabel: string
  hint?: string
}

export function CameraLogin({ username, password, onChange, passwordLabel, hint }: CameraLoginProps) {
  const { t } = useTexts()
  const hinted = hint === undefined ? {} : { hint }
  return (
    <div class="form-row">
      <Field
        label={t('add.username')}
        name="username"
        value={username}
        onInput={(value) => onChange({ username: value })}
        {...hinted}
      />
      <PasswordField
        label={passwordLabel}
        name="password"
        value={password}
        onInput={(value) => onChange({ password: value })}
        autoComplete="new-password"
        {...hinted}
      />
    </div>
  )
}

export function RecordBox({ record, onChange }: { record: boolean; onChange: (changes: { record: boolean }) => void }) {
  const { t } = useTexts()
  return (
    <Checkbox label={t('add.record')} name="record" checked={record} onChange={(value) => onChange({ record: value })} />
  )
}
