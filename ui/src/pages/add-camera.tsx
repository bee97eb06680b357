/** The dialog that adds a camera: discover, check, add. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { api, ApiError } from '../api'
import { type Advanced, AdvancedFields, CameraLogin, DEFAULTS, PinOffer } from '../components/camera-fields'
import { Dialog } from '../components/dialog'
import { Notice } from '../components/feedback'
import { Field } from '../components/fields'
import { AttestBox, PlanFields, useAttestationText } from '../components/plan-fields'
import { Icon } from '../components/icon'
import { Explanation, PickedStreams } from '../components/profile'
import { fingerprintIn, parseFingerprint, withoutFingerprint } from '../fingerprint'
import { useTexts } from '../i18n'
import { type PlanForm, toPlan, toPlanForm } from '../recording-plan'
import type { Device, NewCamera, Profile } from '../types'

export interface Form extends Advanced {
  name: string
  address: string
  subAddress: string
  username: string
  password: string
  plan: PlanForm
  /** The version of the text that is attested; 0 while it is not. */
  attested: number
}

const EMPTY: Form = { ...DEFAULTS, name: '', address: '', subAddress: '', username: '', password: '', plan: toPlanForm({ mode: 'continuous' }), attested: 0 }

type Step =
  | { kind: 'asking' }
  | { kind: 'checking' }
  | { kind: 'checked'; profile: Profile }
  | { kind: 'adding' }
  | { kind: 'failed'; error: unknown }

const isPlain = ({ address }: Form) => /^rtsps?:\/\//.test(address.trim())
const isTls = ({ address }: Form) => address.trim().startsWith('rtsps://')
/** An ONVIF camera tells by itself. */
const mayHaveSub = (form: Form) => !isPlain(form) || form.subAddress.trim() !== ''

/** Empty fields, and what is as it would be anyway, are left out: the server then knows that nothing was said. */
export function toNewCamera(form: Form): NewCamera {
  const body: NewCamera = { name: form.name.trim(), address: form.address.trim() }
  const plan = toPlan(form.plan)
  if (plan) body.recording = plan
  if (form.attested) body.attested = form.attested
  if (form.recordAudio !== DEFAULTS.recordAudio) body.record_audio = form.recordAudio
  if (isPlain(form) && form.subAddress.trim()) body.sub_address = form.subAddress.trim()
  if (form.username) body.username = form.username
  if (form.password) body.password = form.password
  if (isTls(form)) body.tls_fingerprint = parseFingerprint(form.fingerprint) ?? ''
  else if (form.transport) body.transport = form.transport
  if (mayHaveSub(form)) {
    if (form.recordStream !== DEFAULTS.recordStream) body.record_stream = form.recordStream
    if (form.gridStream !== DEFAULTS.gridStream) body.grid_stream = form.gridStream
  }
  return body
}

/** `initial` is what is known of the camera already. */
export function AddCamera({ onClose, initial = {} }: { onClose: () => void; initial?: Partial<Form> }) {
  const { t } = useTexts()
  const [form, setForm] = useState<Form>({ ...EMPTY, ...initial })
  const text = useAttestationText()
  const [step, setStep] = useState<Step>({ kind: 'asking' })
  /** What was asked for so far: what is missing for it is said then, not before. */
  const [asked, setAsked] = useState<'nothing' | 'check' | 'add'>('nothing')
  const abort = useRef(new AbortController())
  useEffect(() => () => abort.current.abort(), [])
  const change = (changes: Partial<Form>) => {
    setForm((before) => ({ ...before, ...changes }))
    // what was checked is no longer what would be added
    if (!['name', 'plan', 'attested', 'recordAudio'].some((name) => name in changes)) setStep({ kind: 'asking' })
  }
  const addressed = form.address.trim() !== '' && (!isTls(form) || parseFingerprint(form.fingerprint) !== null)
  const complete = form.name.trim() !== '' && addressed && toPlan(form.plan) !== null
  const busy = step.kind === 'checking' || step.kind === 'adding'

  const check = async (asWished = form) => {
    setAsked('check')
    if (!addressed) return
    setStep({ kind: 'checking' })
    try {
      const body = toNewCamera(asWished)
      const profile = await api.probeCamera({ ...body, name: body.name || body.address }, abort.current.signal)
      setStep({ kind: 'checked', profile })
      setForm((before) => ({ ...before, name: before.name || `${profile.manufacturer} ${profile.model}`.trim() }))
    } catch (error) {
      if (!abort.current.signal.aborted) setStep({ kind: 'failed', error })
    }
  }
  const pin = (fingerprint: string) => {
    setForm({ ...form, fingerprint })
    void check({ ...form, fingerprint })
  }
  const add = async (event: Event) => {
    event.preventDefault()
    setAsked('add')
    if (!complete) return
    setStep({ kind: 'adding' })
    try {
      await api.addCamera(toNewCamera(form), abort.current.signal)
      onClose()
    } catch (error) {
      if (!abort.current.signal.aborted) setStep({ kind: 'failed', error })
    }
  }

  return (
    <Dialog title={t('add.title')} onClose={onClose} testId="add-dialog">
      <form class="form" onSubmit={(event) => void add(event)} noValidate>
        <Discover onUse={(device) => change({ address: device.address, name: form.name || device.name })} />
        <Field
          label={t('add.address')}
          name="address"
          value={form.address}
          onInput={(address) => change({ address })}
          hint={t('add.addressHint')}
          error={asked !== 'nothing' && form.address.trim() === '' ? t('add.addressMissing') : null}
          autoFocus
        />
        {isPlain(form) && (
          <Field
            label={t('add.subAddress')}
            name="sub_address"
            value={form.subAddress}
            onInput={(subAddress) => change({ subAddress })}
          />
        )}
        <CameraLogin {...form} onChange={change} passwordLabel={t('add.password')} />
        <Field
          label={t('add.name')}
          name="name"
          value={form.name}
          onInput={(name) => change({ name })}
          error={asked === 'add' && form.name.trim() === '' ? t('add.nameMissing') : null}
        />
        <PlanFields
          plan={form.plan}
          hasEvents={!isPlain(form)}
          asked={asked !== 'nothing'}
          onChange={(plan) => change({ plan })}
        />
        <AttestBox
          text={text}
          attested={form.attested !== 0}
          onChange={(on) => change({ attested: on && text ? text.version : 0 })}
        />
        <AdvancedFields {...form} recorded={form.plan.mode !== 'off'} tls={isTls(form)} hasSub={mayHaveSub(form)} open={false} onChange={change} />
        <Outcome step={step} />
        <Untrusted step={step} pinned={parseFingerprint(form.fingerprint) ?? ''} onPin={pin} />
        <div class="dialog-actions">
          <button type="button" class="button" data-testid="check" disabled={busy} onClick={() => void check()}>
            {t(step.kind === 'checking' ? 'add.checking' : 'add.check')}
          </button>
          <button type="submit" class="button button-primary" data-testid="add" disabled={busy}>
            {t(step.kind === 'adding' ? 'add.adding' : 'add.submit')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function Outcome({ step }: { step: Step }) {
  const { t, explain } = useTexts()
  if (step.kind === 'checked') return <Checked profile={step.profile} />
  if (step.kind === 'checking' || step.kind === 'adding')
    return (
      <p class="busy" role="status">
        <span class="spinner" aria-hidden="true" />
        {t(step.kind === 'checking' ? 'add.checking' : 'add.adding')}
      </p>
    )
  if (step.kind !== 'failed') return null
  const code = step.error instanceof ApiError ? step.error.code : undefined
  return (
    <Notice kind="bad" code={code} testId="add-failed">
      <strong>{t('add.checkFailed')}</strong>
      <p>{withoutFingerprint(explain(step.error))}</p>
    </Notice>
  )
}

/** Offers to pin the certificate that an rtsps:// camera has shown, where that is why it cannot be used. */
function Untrusted({ step, pinned, onPin }: { step: Step; pinned: string; onPin: (fingerprint: string) => void }) {
  const { t } = useTexts()
  if (step.kind !== 'failed' || !(step.error instanceof ApiError) || step.error.code !== 'tls_untrusted') return null
  const fingerprint = fingerprintIn(step.error.detail)
  if (fingerprint === null) return null
  return <PinOffer fingerprint={fingerprint} pinned={pinned} label={t('pin.andCheck')} onPin={onPin} />
}

function Checked({ profile }: { profile: Profile }) {
  const { t } = useTexts()
  const device = `${profile.manufacturer} ${profile.model}`.trim()
  return (
    <Notice kind="good" testId="add-checked">
      <strong>{t('add.checked')}</strong>
      {device && (
        <p>
          {device}
          {profile.firmware && <span class="fine">{` · ${t('add.firmware')} ${profile.firmware}`}</span>}
        </p>
      )}
      <PickedStreams profile={profile} />
      <Explanation profile={profile} />
    </Notice>
  )
}

type Search = { kind: 'idle' } | { kind: 'busy' } | { kind: 'found'; devices: Device[] } | { kind: 'failed'; error: unknown }

function Discover({ onUse }: { onUse: (device: Device) => void }) {
  const { t, explain } = useTexts()
  const [search, setSearch] = useState<Search>({ kind: 'idle' })
  const run = () => {
    setSearch({ kind: 'busy' })
    api.discover().then(
      (devices) => setSearch({ kind: 'found', devices }),
      (error: unknown) => setSearch({ kind: 'failed', error }),
    )
  }
  return (
    <div class="discover">
      <div class="discover-head">
        <button type="button" class="button" disabled={search.kind === 'busy'} data-testid="discover" onClick={run}>
          <Icon name="search" />
          {t(search.kind === 'busy' ? 'add.discovering' : 'add.discover')}
        </button>
        <span class="fine" role="status">
          {search.kind === 'found' &&
            (search.devices.length > 0
              ? t('add.discovered', { count: search.devices.length })
              : t('add.discoveredNone'))}
          {search.kind === 'failed' && explain(search.error)}
        </span>
      </div>
      {search.kind === 'found' && search.devices.length > 0 && (
        <ul class="device-list">
          {search.devices.map((device) => (
            <li key={device.address}>
              <button type="button" class="device" onClick={() => onUse(device)}>
                <strong>{device.name || device.model || device.address}</strong>
                <span class="fine">
                  {device.model} {device.address}
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}
