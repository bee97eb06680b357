/** The dialog that changes a camera. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { type Advanced, AdvancedFields, CameraLogin, DEFAULTS, PinOffer, RecordBox } from '../components/camera-fields'
import { Dialog } from '../components/dialog'
import { Notice } from '../components/feedback'
import { Checkbox, Field } from '../components/fields'
import { fingerprintIn, parseFingerprint } from '../fingerprint'
import { useTexts } from '../i18n'
import { hasSub } from '../streams'
import { useSubmit } from '../submit'
import type { Camera, CameraChanges } from '../types'

interface Form extends Advanced {
  name: string
  enabled: boolean
  record: boolean
  username: string
  password: string
}

export function EditCamera({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const { t, explain } = useTexts()
  const [form, setForm] = useState<Form>(() => toForm(camera))
  const { busy, error, submit } = useSubmit()
  const change = (changes: Partial<Form>) => setForm((before) => ({ ...before, ...changes }))

  const save = (event: Event) => {
    event.preventDefault()
    if (parseFingerprint(form.fingerprint) === null) return
    submit(async () => {
      const changes = toChanges(camera, form)
      if (Object.keys(changes).length > 0) await api.changeCamera(camera.id, changes)
      onClose()
    })
  }
  const problem = error === null ? null : explain(error)

  return (
    <Dialog title={t('edit.title', { name: camera.name })} onClose={onClose} testId="edit-dialog">
      <form class="form" onSubmit={save} noValidate>
        {camera.origin === 'file' ? (
          <Notice kind="info">{t('edit.fromFile')}</Notice>
        ) : (
          <CameraFields camera={camera} form={form} change={change} />
        )}
        {problem && <Notice kind="bad">{problem}</Notice>}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>
            {t('app.cancel')}
          </button>
          <button type="submit" class="button button-primary" data-testid="save" disabled={busy}>
            {t('app.save')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

interface FieldsProps {
  camera: Camera
  form: Form
  change: (changes: Partial<Form>) => void
}

function CameraFields({ camera, form, change }: FieldsProps) {
  const { t } = useTexts()
  return (
    <>
      <Field label={t('add.name')} name="name" value={form.name} onInput={(name) => change({ name })} autoFocus />
      <div class="form-row">
        <Checkbox
          label={t('edit.enabled')}
          name="enabled"
          checked={form.enabled}
          onChange={(enabled) => change({ enabled })}
        />
        <RecordBox record={form.record} onChange={change} />
      </div>
      <CameraLogin
        {...form}
        onChange={change}
        passwordLabel={t('edit.newPassword')}
        hint={t('edit.keepPassword')}
      />
      <AdvancedFields
        {...form}
        tls={isTls(camera)}
        hasSub={hasSub(camera)}
        open={differsFromDefault(camera)}
        onChange={change}
      />
      <Untrusted camera={camera} form={form} change={change} />
    </>
  )
}

/** Offers to pin the certificate that an rtsps:// camera has shown, where that is why it gives no picture. */
function Untrusted({ camera, form, change }: FieldsProps) {
  const { t } = useTexts()
  const reasons = [camera.streams.main.reason, camera.streams.sub?.reason]
  const untrusted = reasons.find((reason) => reason?.code === 'tls_untrusted')
  const shown = untrusted ? fingerprintIn(untrusted.sentence) : null
  if (shown === null) return null
  const pinned = parseFingerprint(form.fingerprint) ?? ''
  return (
    <PinOffer fingerprint={shown} pinned={pinned} label={t('pin.this')} onPin={(fingerprint) => change({ fingerprint })} />
  )
}

function toForm(camera: Camera): Form {
  return {
    name: camera.name,
    enabled: camera.enabled,
    record: camera.record,
    username: '',
    password: '',
    ...toAdvanced(camera),
  }
}

function toAdvanced(camera: Camera): Advanced {
  return {
    transport: camera.transport ?? '',
    fingerprint: camera.tls_fingerprint ?? '',
    recordStream: camera.record_stream,
    gridStream: camera.grid_stream,
  }
}

const isTls = (camera: Camera) => camera.address.startsWith('rtsps://')

function differsFromDefault(camera: Camera): boolean {
  const { transport, fingerprint, recordStream, gridStream } = toAdvanced(camera)
  const gridDefault = hasSub(camera) ? DEFAULTS.gridStream : 'main'
  return transport !== '' || fingerprint !== '' || recordStream !== DEFAULTS.recordStream || gridStream !== gridDefault
}

function toChanges(camera: Camera, form: Form): CameraChanges {
  const changes: CameraChanges = {}
  const name = form.name.trim()
  if (name && name !== camera.name) changes.name = name
  if (form.enabled !== camera.enabled) changes.enabled = form.enabled
  if (form.record !== camera.record) changes.record = form.record
  if (form.username) changes.username = form.username
  if (form.password) changes.password = form.password
  return { ...changes, ...toAdvancedChanges(camera, form) }
}

function toAdvancedChanges(camera: Camera, form: Form): CameraChanges {
  const before = toAdvanced(camera)
  const changes: CameraChanges = {}
  const fingerprint = parseFingerprint(form.fingerprint)
  if (form.transport !== before.transport) changes.transport = form.transport
  if (fingerprint !== null && fingerprint !== before.fingerprint) changes.tls_fingerprint = fingerprint
  if (form.recordStream !== before.recordStream) changes.record_stream = form.recordStream
  if (form.gridStream !== before.gridStream) changes.grid_stream = form.gridStream
  return changes
}
