/** What other video systems read this account's cameras with over RTSP: logins of their own. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { CopyField } from '../components/copy-field'
import { ConfirmDialog, Dialog, DialogActions } from '../components/dialog'
import { Empty, Notice, PollNotice } from '../components/feedback'
import { Field, Select } from '../components/fields'
import { Icon } from '../components/icon'
import { Table } from '../components/table'
import { formatDateTime } from '../format'
import { useTexts } from '../i18n'
import { usePolled } from '../poller'
import { endsAt, isOff, isOutOfReach, LIFETIMES, type Lifetime, rtspUrls } from '../rtsp-urls'
import { cameras, rtspLogins } from '../stores'
import { hasSub } from '../streams'
import { useSubmit } from '../submit'
import type { Camera, NewRtspLogin, RtspDoor, RtspLogin } from '../types'

/** Of every camera that the account may see, as a choice of a form. */
const ALL = ''

type Open =
  | { kind: 'make' }
  | { kind: 'made'; login: NewRtspLogin; camera: string }
  | { kind: 'revoke'; login: RtspLogin }
  | null

export function OtherSystemsPage() {
  const { t } = useTexts()
  const { value } = usePolled(rtspLogins)
  const { value: seen } = usePolled(cameras)
  const [open, setOpen] = useState<Open>(null)
  const list = seen ?? []
  const close = () => {
    setOpen(null)
    rtspLogins.refresh()
  }
  return (
    <div class="page">
      <div class="page-head">
        <div>
          <h1>{t('others.title')}</h1>
          <p class="lead">{t('others.lead')}</p>
        </div>
        <button
          type="button"
          class="button button-primary"
          data-testid="make-login"
          disabled={value === null || isOff(value.rtsp)}
          onClick={() => setOpen({ kind: 'make' })}
        >
          <Icon name="plus" />
          {t('others.make')}
        </button>
      </div>
      <p class="fine">{t('others.rights')}</p>
      <PollNotice poller={rtspLogins} />
      {value && <DoorNotice door={value.rtsp} />}
      {value?.rtsp_logins.length === 0 && <Empty title={t('others.empty')} />}
      {value && value.rtsp_logins.length > 0 && (
        <Logins list={value.rtsp_logins} cameras={list} onRevoke={(login) => setOpen({ kind: 'revoke', login })} />
      )}
      {open?.kind === 'make' && (
        <MakeLogin
          cameras={list}
          onClose={close}
          onMade={(login, camera) => setOpen({ kind: 'made', login, camera })}
        />
      )}
      {open?.kind === 'made' && value && (
        <MadeLogin login={open.login} camera={open.camera} cameras={list} door={value.rtsp} onClose={close} />
      )}
      {open?.kind === 'revoke' && <RevokeLogin login={open.login} onClose={close} />}
    </div>
  )
}

/** Why nobody could read with these logins, where that is so. */
function DoorNotice({ door }: { door: RtspDoor }) {
  const { t } = useTexts()
  if (isOff(door)) return <Notice kind="warn" testId="rtsp-off">{t('others.off')}</Notice>
  return isOutOfReach(door, location.hostname) ? <Notice kind="warn">{t('others.localOnly')}</Notice> : null
}

function Logins(props: { list: RtspLogin[]; cameras: Camera[]; onRevoke: (login: RtspLogin) => void }) {
  const { t, locale } = useTexts()
  const time = (at: string) => formatDateTime(Date.parse(at), locale)
  return (
    <Table
      label={t('others.title')}
      testId="rtsp-logins"
      columns={[
        { title: t('others.name') },
        { title: t('others.camera') },
        { title: t('others.createdAt') },
        { title: t('others.expiresAt') },
        { title: t('cameras.actions'), hidden: true },
      ]}
    >
      {props.list.map((login) => (
        <tr key={login.id} data-login={login.id}>
          <td>
            <span class="row-title">{login.name}</span>
            <div>
              <code class="code">{login.username}</code>
            </div>
          </td>
          <td>{login.camera === null ? t('others.allCameras') : nameOf(login.camera, props.cameras)}</td>
          <td data-label={t('others.createdAt')}>
            <time dateTime={login.created_at}>{time(login.created_at)}</time>
          </td>
          <td data-label={t('others.expiresAt')}>
            {login.expires_at ? <time dateTime={login.expires_at}>{time(login.expires_at)}</time> : t('others.never')}
          </td>
          <td>
            <div class="row-actions">
              <button
                type="button"
                class="button button-danger-quiet"
                data-testid="revoke"
                aria-label={`${t('others.revoke')}: ${login.name}`}
                onClick={() => props.onRevoke(login)}
              >
                <Icon name="trash" />
                <span>{t('others.revoke')}</span>
              </button>
            </div>
          </td>
        </tr>
      ))}
    </Table>
  )
}

const nameOf = (id: string, list: Camera[]) => list.find((camera) => camera.id === id)?.name ?? id

const titles = (list: Camera[]) => list.map((camera) => [camera.id, camera.name] as const)

interface MakeProps {
  cameras: Camera[]
  onClose: () => void
  onMade: (login: NewRtspLogin, camera: string) => void
}

function MakeLogin({ cameras: list, onClose, onMade }: MakeProps) {
  const { t, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  const [name, setName] = useState('')
  const [camera, setCamera] = useState(ALL)
  const [lifetime, setLifetime] = useState<Lifetime>('never')
  const make = async () => {
    const wish = { name: name.trim(), camera: camera || null, expires_at: endsAt(lifetime, Date.now()) }
    onMade(await api.makeRtspLogin(wish), camera)
  }
  return (
    <Dialog title={t('others.make')} onClose={onClose} testId="make-dialog">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          submit(make)
        }}
      >
        <Field
          label={t('others.name')}
          hint={t('others.nameHint')}
          name="name"
          value={name}
          onInput={setName}
          required
          autoFocus
        />
        <Select
          label={t('others.camera')}
          name="camera"
          value={camera}
          options={[[ALL, t('others.allCameras')], ...titles(list)]}
          onChange={setCamera}
        />
        <Select
          label={t('others.expiresAt')}
          name="lifetime"
          value={lifetime}
          options={LIFETIMES.map((one) => [one, t(`others.lifetime.${one}`)] as const)}
          onChange={setLifetime}
        />
        {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
        <DialogActions
          submit={t('others.makeNow')}
          testId="make"
          disabled={busy || !name.trim()}
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}

interface MadeProps {
  login: NewRtspLogin
  camera: string
  cameras: Camera[]
  door: RtspDoor
  onClose: () => void
}

/** The one time that the password is shown. */
function MadeLogin({ login, camera, cameras: list, door, onClose }: MadeProps) {
  const { t } = useTexts()
  const [shown, show] = useState(camera)
  const found = list.find((one) => one.id === shown) ?? list[0]
  return (
    <Dialog title={t('others.madeTitle', { name: login.name })} onClose={onClose} testId="made-dialog">
      <Notice kind="warn">{t('others.once')}</Notice>
      <div class="form-row">
        <CopyField label={t('login.username')} name="username" value={login.username} />
        <CopyField label={t('login.password')} name="password" value={login.password} />
      </div>
      {camera === ALL && found && (
        <Select label={t('others.urlsOf')} name="shown" value={found.id} options={titles(list)} onChange={show} />
      )}
      {found &&
        rtspUrls(door, location.hostname, login, found.id, hasSub(found)).map(({ scheme, stream, url }) => (
          <CopyField
            key={`${scheme} ${stream}`}
            label={`${t(`streams.${stream}`)}, ${t(scheme === 'rtsps' ? 'others.sealed' : 'others.plain')}`}
            name={`${scheme}-${stream}`}
            value={url}
          />
        ))}
      {door.tls_port > 0 && <p class="fine">{t('others.certificate')}</p>}
      <div class="dialog-actions">
        <button type="button" class="button button-primary" data-testid="done" onClick={onClose}>
          {t('others.done')}
        </button>
      </div>
    </Dialog>
  )
}

function RevokeLogin({ login, onClose }: { login: RtspLogin; onClose: () => void }) {
  const { t } = useTexts()
  return (
    <ConfirmDialog
      name="revoke"
      title={t('others.revokeTitle', { name: login.name })}
      confirm={t('others.revoke')}
      action={() => api.revokeRtspLogin(login.id)}
      onClose={onClose}
    >
      {t('others.revokeBody')}
    </ConfirmDialog>
  )
}
