/** The controls under a picture. */
import { formatDateTime } from '../format'
import { useTexts } from '../i18n'
import { isUnreachable } from '../live-source'
import type { LiveStream, StreamName } from '../types'
import type { Transport } from './facts'
import { IconButton } from './icon-button'
import { Segmented } from './segmented'

export const RATES = [0.25, 0.5, 1, 2, 4, 8, 16] as const

interface PlayerBarProps {
  transport: Transport
  canLive: boolean
  clockMs: number | null
  /** The stream gives pictures now; only then may anything be called live. */
  streaming: boolean
  paused: boolean
  muted: boolean
  hasAudio: boolean
  /** Why the camera's sound is not heard; null where nothing is missing. */
  silence: string | null
  rate: number
  /** Which stream was chosen to be watched live; null where there is nothing to choose. */
  choice: LiveStream | null
  /** The one whose pictures are seen now, where their size tells. */
  running: StreamName | null
  /** Why it is LL-HLS though WebRTC was asked for. */
  because: unknown
  onStream: (stream: LiveStream) => void
  onTransport: (transport: 'webrtc' | 'hls') => void
  onPause: () => void
  onMute: () => void
  onRate: (rate: number) => void
  onJump: (byMs: number) => void
  onStep: (direction: 1 | -1) => void
  onFullscreen: () => void
}

export function PlayerBar(props: PlayerBarProps) {
  const { t } = useTexts()
  const recorded = props.transport === 'recorded'
  return (
    <div class="player-bar">
      <div class="button-group">
        <IconButton icon="back" label={t('player.back')} testId="back-10" onClick={() => props.onJump(-10_000)} />
        <IconButton
          icon={props.paused ? 'play' : 'pause'}
          label={t(props.paused ? 'player.play' : 'player.pause')}
          testId="pause"
          disabled={!recorded}
          onClick={props.onPause}
        />
        <IconButton
          icon="forward"
          label={t('player.forward')}
          disabled={!recorded}
          onClick={() => props.onJump(10_000)}
        />
        <IconButton
          icon="stepBack"
          label={t('player.stepBack')}
          testId="step-back"
          disabled={!recorded}
          onClick={() => props.onStep(-1)}
        />
        <IconButton
          icon="step"
          label={t('player.step')}
          testId="step"
          disabled={!recorded}
          onClick={() => props.onStep(1)}
        />
      </div>
      <PictureClock ms={props.clockMs} mode={recorded ? 'recorded' : props.streaming ? 'live' : 'lost'} />
      {props.because !== undefined && (
        <p class="player-note fine" data-testid="fallback-note">
          {t(isUnreachable(props.because) ? 'player.byHlsUnreachable' : 'player.byHlsCodec')}
        </p>
      )}
      {props.silence && (
        <p class="player-note fine" data-testid="silent-note">
          {props.silence}
        </p>
      )}
      <div class="player-bar-end">
        {!recorded && props.choice && <StreamChoice {...props} choice={props.choice} />}
        {props.transport === 'recorded' ? (
          <RecordedControls {...props} />
        ) : (
          <TransportChoice transport={props.transport} onTransport={props.onTransport} />
        )}
        <IconButton
          icon={props.muted ? 'muted' : 'sound'}
          label={t(props.hasAudio ? (props.muted ? 'player.unmute' : 'player.mute') : 'player.noAudio')}
          testId="mute"
          pressed={props.muted}
          disabled={!props.hasAudio}
          onClick={props.onMute}
        />
        <IconButton icon="fullscreen" label={t('player.fullscreen')} onClick={props.onFullscreen} />
      </div>
    </div>
  )
}

/** Wall time of the picture: for live by WebRTC, which carries none, the time now. */
function PictureClock({ ms, mode }: { ms: number | null; mode: 'live' | 'lost' | 'recorded' }) {
  const { t, locale } = useTexts()
  return (
    <div class={`clock clock-${mode}`}>
      <span class="clock-mode">{t(`player.${mode}`)}</span>
      <time
        data-testid="picture-time"
        data-ms={ms === null ? undefined : Math.round(ms)}
        dateTime={ms === null ? undefined : new Date(ms).toISOString()}
        aria-label={t('player.wallTime')}
      >
        {ms === null ? '––:––:––' : formatDateTime(ms, locale)}
      </time>
    </div>
  )
}

function RecordedControls(props: PlayerBarProps) {
  const { t } = useTexts()
  return (
    <>
      <label class="rate">
        <span class="sr-only">{t('player.speed')}</span>
        <select
          value={String(props.rate)}
          title={t('player.speed')}
          data-testid="rate"
          onChange={(event) => props.onRate(Number(event.currentTarget.value))}
        >
          {RATES.map((rate) => (
            <option key={rate} value={String(rate)}>
              {rate}×
            </option>
          ))}
        </select>
      </label>
      {props.canLive && (
        <button
          type="button"
          class="button button-live"
          data-testid="to-live"
          onClick={() => props.onTransport('webrtc')}
        >
          {t('player.toLive')}
        </button>
      )}
    </>
  )
}

interface TransportChoiceProps {
  transport: 'webrtc' | 'hls'
  onTransport: (transport: 'webrtc' | 'hls') => void
}

function TransportChoice({ transport, onTransport }: TransportChoiceProps) {
  const { t } = useTexts()
  return (
    <Segmented
      label={t('player.transport')}
      chosen={transport}
      choices={(['webrtc', 'hls'] as const).map((value) => ({
        value,
        text: t(`player.${value}`),
        testId: `transport-${value}`,
      }))}
      onChoose={onTransport}
    />
  )
}

const STREAMS: readonly LiveStream[] = ['auto', 'main', 'sub']

/** Of what is chosen automatically it is shown which one that is at the moment. */
function StreamChoice({ choice, running, onStream }: PlayerBarProps & { choice: LiveStream }) {
  const { t } = useTexts()
  return (
    <Segmented
      label={t('player.quality')}
      testId="quality"
      running={running}
      chosen={choice}
      choices={STREAMS.map((value) => ({
        value,
        text: t(`player.quality.${value}`),
        title: t(`player.quality.${value}Hint`),
        class: choice === 'auto' && running === value ? 'running' : undefined,
        testId: `quality-${value}`,
      }))}
      onChoose={onStream}
    />
  )
}
