/** State of a stream and of its recording, in colour, shape and words. */
import { useTexts } from '../i18n'
import type { MessageKey } from '../texts-vi'
import { leadingStream } from '../streams'
import type { Camera, Reason, RecordingStatus, Stream, StreamState } from '../types'

export function StateBadge({ state }: { state: StreamState }) {
  const { t } = useTexts()
  return (
    <span class={`badge state-${state}`} data-testid="state" data-state={state}>
      <span class="badge-dot" aria-hidden="true" />
      {t(`state.${state}`)}
    </span>
  )
}

export function RecordingBadge({ recording, short = false }: { recording: RecordingStatus | null; short?: boolean }) {
  const { t, sentence } = useTexts()
  const state = recording?.state ?? 'off'
  const text = t(`recording.${state}`)
  const why = recording?.reason ? `${text}. ${sentence(recording.reason)}` : text
  return (
    <span class={`badge recording-${state}`} title={why} data-testid="recording" data-state={state}>
      <span class="badge-rec" aria-hidden="true" />
      {short && state === 'recording' ? <ShortRecording text={text} /> : text}
    </span>
  )
}

function ShortRecording({ text }: { text: string }) {
  const { t } = useTexts()
  return (
    <>
      <span aria-hidden="true">{t('recording.short')}</span>
      <span class="sr-only">{text}</span>
    </>
  )
}

/** The sentence below a stream that is not live, with its code small beside. */
export function StreamReason({ stream }: { stream: Stream }) {
  const { t, sentence } = useTexts()
  const hint: Record<Exclude<StreamState, 'live'>, MessageKey> = {
    connecting: 'state.connectingHint',
    retrying: 'state.retryingHint',
    idle: 'state.idleHint',
    off: 'state.offHint',
  }
  if (stream.reason)
    return (
      <span class="reason" data-testid="reason" data-code={stream.reason.code}>
        {sentence(stream.reason)} <code class="code">{stream.reason.code}</code>
      </span>
    )
  return stream.state === 'live' ? null : <span class="reason">{t(hint[stream.state])}</span>
}

/** Why nothing is recorded, unless the stream beside it says the same. */
export function recordingReason({ reason, recording }: Stream): Reason | null {
  return recording?.reason && recording.reason.code !== reason?.code ? recording.reason : null
}

/** The state a person cares about: that of the stream that is recorded, or off. */
export function cameraState(camera: Camera): StreamState {
  return camera.enabled ? leadingStream(camera).state : 'off'
}
