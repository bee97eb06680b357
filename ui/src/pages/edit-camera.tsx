/** The dialog that changes a camera. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { type Advanced, AdvancedFields, CameraLogin, DEFAULTS, PinOffer } from '../components/camera-fields'
import { Dialog, DialogActions } from '../components/dialog'
import { Notice } from '../components/feedback'
import { Checkbox, Field } from '../components/fields'
import { AttestBox, PlanFields, useAttestationText } from '../components/plan-fields'
import { fingerprintIn, parseFingerprint } from '../fingerprint'
import { useTexts } from '../i18n'
import { type PlanForm, samePlan, toPlan, toPlanForm } from '../recording-plan'
import { hasSub } from '../streams'
import { useSubmit } from '../submit'
import type { Camera, CameraChanges } from '../types'

interface Form extends Advanced {
  name: string
  enabled: boolean
  plan: PlanForm
  /** The version of the text that is attested now; 0: none. */
  attested: number
  username: string
  password: string
}

export function EditCamera({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const { t, explain } = useTexts()
  const [form, setForm] = useState<Form>(() => toForm(camera))
  const [asked, setAsked] = useState(false)
  const { busy, error, submit } = useSubmit()
  const change = (changes: Partial<Form>) => setForm((before) => ({ ...before, ...changes }))

  const save = (event: Event) => {
    event.preventDefault()
    setAsked(true)
    if (parseFingerprint(form.fingerprint) === null || toPlan(form.plan) === null) return
    submit(async () => {
      const changes = toChanges(camera, form)
      if (Object.keys(changes).length > 0) await api.changeCamera(camera.id, changes)
      if (form.attested) await api.attest(camera.id, form.attested)
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
          <CameraFields camera={camera} form={form} change={change} asked={asked} />
        )}
        {!camera.attestation?.version && <Attest form={form} change={change} />}
        {problem && <Notice kind="bad">{problem}</Notice>}
        <DialogActions
          submit={t('app.save')}
          testId="save"
          disabled={busy}
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}

interface FieldsProps {
  camera: Camera
  form: Form
  change: (changes: Partial<Form>) => void
}

function Attest({ form, change }: Pick<FieldsProps, 'form' | 'change'>) {
  const text = useAttestationText()
  const onChange = (on: boolean) => change({ attested: on && text ? text.version : 0 })
  return <AttestBox text={text} attested={form.attested !== 0} onChange={onChange} />
}

function CameraFields({ camera, form, change, asked }: FieldsProps & { asked: boolean }) {
  const { t } = useTexts()
  return (
    <>
      <Field label={t('add.name')} name="name" value={form.name} onInput={(name) => change({ name })} autoFocus />
      <Checkbox
        label={t('edit.enabled')}
        name="enabled"
        checked={form.enabled}
        onChange={(enabled) => change({ enabled })}
      />
      <PlanFields
        plan={form.plan}
        hasEvents={camera.kind !== 'rtsp'}
        asked={asked}
        onChange={(plan) => change({ plan })}
      />
      <CameraLogin
        {...form}
        onChange={change}
        passwordLabel={t('edit.newPassword')}
        hint={t('edit.keepPassword')}
      />
      <AdvancedFields
        {...form}
        recorded={form.plan.mode !== 'off'}
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
    plan: toPlanForm(camera.recording),
    attested: 0,
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
    recordAudio: camera.record_audio,
  }
}

const isTls = (camera: Camera) => camera.address.startsWith('rtsps://')

function differsFromDefault(camera: Camera): boolean {
  const { transport, fingerprint, recordStream, gridStream, recordAudio } = toAdvanced(camera)
  if (recordAudio !== DEFAULTS.recordAudio) return true
  const gridDefault = hasSub(camera) ? DEFAULTS.gridStream : 'main'
  return transport !== '' || fingerprint !== '' || recordStream !== DEFAULTS.recordStream || gridStream !== gridDefault
}

function toChanges(camera: Camera, form: Form): CameraChanges {
  const changes: CameraChanges = {}
  const name = form.name.trim()
  if (name && name !== camera.name) changes.name = name
  if (form.enabled !== camera.enabled) changes.enabled = form.enabled
  const plan = toPlan(form.plan)
  if (plan && !samePlan(plan, camera.recording)) changes.recording = plan
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
  if (form.recordAudio !== before.recordAudio) changes.record_audio = form.recordAudio
  if (form.gridStream !== before.gridStream) changes.grid_stream = form.gridStream
  return changes
}
