/** The pages one sees before having an account: a name, a password, and what the page adds. */
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { useTexts } from '../i18n'
import { Field, PasswordField } from './fields'
import { Brand, LanguageSwitch } from './header'

export interface Login {
  username: string
  password: string
}

interface FrontFormProps {
  title: string
  lead: string
  testId: string
  /** Tells the browser's password manager whether to fill one in or to offer a new one. */
  passwordKind: 'current-password' | 'new-password'
  button: string
  busy: boolean
  /** Above the fields: what went wrong, or why one is here. */
  notice: ComponentChildren
  /** Below the fields. */
  children?: ComponentChildren
  foot?: ComponentChildren
  onSubmit: (login: Login) => void
}

export function FrontForm(props: FrontFormProps) {
  const { t } = useTexts()
  const [login, setLogin] = useState<Login>({ username: '', password: '' })
  const submit = (event: Event) => {
    event.preventDefault()
    props.onSubmit(login)
  }
  return (
    <main class="centre">
      <form class="card card-narrow" onSubmit={submit} data-testid={props.testId}>
        <div class="front-brand">
          <Brand size={36} />
          <LanguageSwitch />
        </div>
        <div>
          <h1>{props.title}</h1>
          <p class="lead">{props.lead}</p>
        </div>
        {props.notice}
        <Field
          label={t('login.username')}
          name="username"
          value={login.username}
          onInput={(username) => setLogin({ ...login, username })}
          autoComplete="username"
          required
          autoFocus
        />
        <PasswordField
          label={t('login.password')}
          name="password"
          value={login.password}
          onInput={(password) => setLogin({ ...login, password })}
          autoComplete={props.passwordKind}
          required
        />
        {props.children}
        <button type="submit" class="button button-primary" disabled={props.busy}>
          {props.button}
        </button>
        {props.foot}
      </form>
    </main>
  )
}
