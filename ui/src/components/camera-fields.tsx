/** The fields that adding and changing a camera have in common. */
import { useEffect, useState } from 'preact/hooks'
import { bytesOf, parseFingerprint } from '../fingerprint'
import { useTexts } from '../i18n'
import type { CameraTransport, RecordAudio, RecordStream, StreamName } from '../types'
import { Notice } from './feedback'
import { Field, PasswordField, Select } from './fields'

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

/** What is seldom changed. `fingerprint` as it was typed. */
export interface Advanced {
  transport: CameraTransport
  fingerprint: string
  recordStream: RecordStream
  gridStream: StreamName
  recordAudio: RecordAudio
}

export const DEFAULTS: Advanced = {
  transport: '',
  fingerprint: '',
  recordStream: 'main',
  gridStream: 'sub',
  recordAudio: 'policy',
}

interface AdvancedProps extends Advanced {
  /** The media come over rtsps://: always TCP, and from whom is checked. */
  tls: boolean
  recorded: boolean
  hasSub: boolean
  open: boolean
  onChange: (changes: Partial<Advanced>) => void
}

export function AdvancedFields(props: AdvancedProps) {
  const { t } = useTexts()
  const [open, setOpen] = useState(props.open)
  // nothing that was filled in elsewhere stays out of sight
  useEffect(() => {
    if (props.fingerprint) setOpen(true)
  }, [props.fingerprint !== ''])
  return (
    <details
      class="advanced"
      data-testid="advanced"
      open={open}
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>{t('advanced.title')}</summary>
      <div class="form">
        {props.tls ? <FingerprintField {...props} /> : <TransportField {...props} />}
        <AudioField {...props} />
        {props.hasSub ? <StreamFields {...props} /> : <p class="fine">{t('advanced.noSub')}</p>}
      </div>
    </details>
  )
}

function TransportField({ transport, onChange }: AdvancedProps) {
  const { t } = useTexts()
  return (
    <Select
      label={t('advanced.transport')}
      name="transport"
      value={transport}
      options={[
        ['', t('advanced.transportDefault')],
        ['auto', t('advanced.transportAuto')],
        ['tcp', 'TCP'],
        ['udp', 'UDP'],
      ]}
      onChange={(value) => onChange({ transport: value })}
    />
  )
}

function FingerprintField({ fingerprint, onChange }: AdvancedProps) {
  const { t } = useTexts()
  return (
    <Field
      label={t('advanced.fingerprint')}
      name="tls_fingerprint"
      value={fingerprint}
      onInput={(value) => onChange({ fingerprint: value })}
      hint={t('advanced.fingerprintHint')}
      error={parseFingerprint(fingerprint) === null ? t('advanced.fingerprintInvalid') : null}
    />
  )
}

function AudioField({ recordAudio, recorded, onChange }: AdvancedProps) {
  const { t } = useTexts()
  return (
    <Select
      label={t('advanced.recordAudio')}
      name="record_audio"
      value={recordAudio}
      disabled={!recorded}
      options={(['policy', 'on', 'off'] as const).map((name) => [name, t(`recordAudio.${name}`)] as const)}
      onChange={(value) => onChange({ recordAudio: value })}
      hint={t('advanced.recordAudioHint')}
    />
  )
}

function StreamFields({ recordStream, gridStream, recorded, onChange }: AdvancedProps) {
  const { t } = useTexts()
  return (
    <div class="form-row">
      <Select
        label={t('advanced.recordStream')}
        name="record_stream"
        value={recordStream}
        disabled={!recorded}
        options={(['main', 'sub', 'both'] as const).map((name) => [name, t(`streams.${name}`)] as const)}
        onChange={(value) => onChange({ recordStream: value })}
        hint={t('advanced.recordStreamHint')}
      />
      <Select
        label={t('advanced.gridStream')}
        name="grid_stream"
        value={gridStream}
        options={(['sub', 'main'] as const).map((name) => [name, t(`streams.${name}`)] as const)}
        onChange={(value) => onChange({ gridStream: value })}
        hint={t('advanced.gridStreamHint')}
      />
    </div>
  )
}

interface PinOfferProps {
  fingerprint: string
  /** What is pinned now, where another certificate was shown. */
  pinned: string
  label: string
  onPin: (fingerprint: string) => void
}

/** Shows the fingerprint of a certificate that nobody vouches for, to be compared, and pins it on one click. */
export function PinOffer({ fingerprint, pinned, label, onPin }: PinOfferProps) {
  const { t } = useTexts()
  if (pinned === fingerprint) return null
  return (
    <Notice kind="warn" testId="pin-offer">
      <p>{t(pinned ? 'pin.other' : 'pin.lead')}</p>
      {/* a line of it ends between two bytes */}
      <code class="fingerprint" data-testid="shown-fingerprint">
        {bytesOf(fingerprint).map((byte, index) => [index > 0 && [':', <wbr />], byte])}
      </code>
      <button type="button" class="button" data-testid="pin" onClick={() => onPin(fingerprint)}>
        {label}
      </button>
    </Notice>
  )
}
