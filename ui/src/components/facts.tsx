/** The figures beside a picture. */
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { connections } from '../connections'
import { codecTitle, formatBitrate, formatDuration, formatMoment, formatNumber } from '../format'
import { type HlsFacts, readHlsFacts } from '../hls-player'
import { knownKey, useTexts } from '../i18n'
import { hasSub, leadingStream, shownStream } from '../streams'
import type { Camera, RecordingStatus, Stream, StreamName } from '../types'
import { type LiveFacts, StatsReader } from '../video-stats'
import { RecordingBadge, recordingReason, StateBadge, StreamReason } from './badges'
import { Explanation, Services, Warnings } from './profile'

const READ_MS = 1000

export type Transport = 'webrtc' | 'hls' | 'recorded'

interface Figures {
  live: LiveFacts | null
  hls: HlsFacts | null
  firstPictureMs: number | null
}

/** Reads the figures of what `video` plays once a second; `key` names its connection. */
export function useFigures(key: string, camera: string, transport: Transport, video: HTMLVideoElement | null): Figures {
  const [figures, setFigures] = useState<Figures>({ live: null, hls: null, firstPictureMs: null })
  useEffect(() => {
    let reader: { peer: RTCPeerConnection; stats: StatsReader } | null = null
    const read = async () => {
      const peer = connections.peers[key]
      if (peer && reader?.peer !== peer) reader = { peer, stats: new StatsReader(peer) }
      const first = Number.parseFloat(video?.dataset['clickToPictureMs'] ?? '')
      const live = transport === 'webrtc' && reader ? await reader.stats.read().catch(() => null) : null
      const hls = transport !== 'webrtc' && video ? readHlsFacts(camera, video) : null
      return { live, hls, firstPictureMs: Number.isFinite(first) ? first : null }
    }
    let stopped = false
    const timer = setInterval(() => void read().then((next) => stopped || setFigures(next)), READ_MS)
    return () => {
      stopped = true
      clearInterval(timer)
      setFigures({ live: null, hls: null, firstPictureMs: null })
    }
  }, [key, camera, transport, video])
  return figures
}

interface FactsProps {
  camera: Camera
  transport: Transport
  /** Whose footage is played. */
  footageOf: StreamName
  figures: Figures
}

export function Facts({ camera, transport, footageOf, figures }: FactsProps) {
  const { t } = useTexts()
  const stream = shownStream(camera, transport === 'recorded' ? footageOf : null, figures.live ?? figures.hls)
  const recorded = leadingStream(camera)
  return (
    <aside class="panel facts" aria-label={t('facts.title')} data-testid="facts">
      <div class="facts-state">
        <StateBadge state={camera.enabled ? stream.state : 'off'} />
        <RecordingBadge recording={recorded.recording} />
      </div>
      <StreamReason stream={stream} />
      <Warnings camera={camera} />
      <FactGroup title={t('facts.connection')}>
        <PictureFacts stream={stream} figures={figures} />
        {transport === 'webrtc' && <ConnectionFacts figures={figures} />}
        {transport === 'hls' && <BehindLive figures={figures} />}
      </FactGroup>
      {recorded.recording && (
        <FactGroup title={t('facts.recording')}>
          <PlanFacts camera={camera} />
          {hasSub(camera) && <Fact name={t('advanced.recordStream')}>{t(`streams.${camera.record_stream}`)}</Fact>}
          <RecordingFacts stream={recorded} recording={recorded.recording} />
        </FactGroup>
      )}
      <FactGroup title={t('facts.camera')}>
        <CameraFacts camera={camera} />
      </FactGroup>
      {camera.device && (
        <section>
          <h2 class="fact-title">{t('facts.services')}</h2>
          <Services camera={camera} />
        </section>
      )}
    </aside>
  )
}

function FactGroup({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h2 class="fact-title">{title}</h2>
      <dl class="fact-list">{children}</dl>
    </section>
  )
}

function Fact({ name, testId, children }: { name: string; testId?: string; children: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd data-testid={testId}>{children}</dd>
    </div>
  )
}

/** Shown while a figure is not known, at its width. */
const DASH = '–'

function PictureFacts({ stream, figures }: { stream: Stream; figures: Figures }) {
  const { t, locale } = useTexts()
  const { live, hls, firstPictureMs } = figures
  const size = (live?.width ? live : null) ?? hls ?? stream.video
  return (
    <>
      <Fact name={t('facts.resolution')} testId="resolution">
        {size ? `${size.width} × ${size.height}` : DASH}
      </Fact>
      <Fact name={t('facts.codec')}>{codecTitle(stream.video?.codec ?? live?.codec ?? DASH)}</Fact>
      <Fact name={t('facts.audio')}>{stream.audio ? codecTitle(stream.audio.codec) : t('app.none')}</Fact>
      <Fact name={t('facts.transport')} testId="camera-transport">
        {stream.transport?.toUpperCase() ?? DASH}
      </Fact>
      <Fact name={t('facts.viewers')}>{stream.viewers}</Fact>
      <Fact name={t('facts.firstPicture')} testId="first-picture">
        {firstPictureMs === null ? DASH : `${formatNumber(firstPictureMs, locale)} ms`}
      </Fact>
    </>
  )
}

function ConnectionFacts({ figures: { live } }: { figures: Figures }) {
  const { t, locale } = useTexts()
  return (
    <>
      <Fact name={t('facts.rate')}>{live ? Math.round(live.picturesPerSecond) : DASH}</Fact>
      <Fact name={t('facts.bitrate')}>{live?.bitsPerSecond ? formatBitrate(live.bitsPerSecond, locale) : DASH}</Fact>
      <Fact name={t('facts.latency')}>
        {live?.bufferMs !== null && live ? `${Math.round(live.bufferMs)} ms` : DASH}
      </Fact>
      <Fact name={t('facts.lost')} testId="packets-lost">
        {live ? formatNumber(live.packetsLost, locale) : DASH}
      </Fact>
      <Fact name={t('facts.freezes')}>{live?.freezes ?? DASH}</Fact>
      <Fact name={t('facts.cipher')}>{live?.cipher?.replace('SRTP_', '').replaceAll('_', '-') ?? DASH}</Fact>
    </>
  )
}

function BehindLive({ figures: { hls } }: { figures: Figures }) {
  const { t, locale } = useTexts()
  const seconds = hls?.behindLiveS
  return (
    <Fact name={t('facts.liveLatency')}>
      {seconds === null || seconds === undefined ? DASH : formatDuration(seconds, locale)}
    </Fact>
  )
}

function RecordingFacts({ stream, recording }: { stream: Stream; recording: RecordingStatus }) {
  const { t, locale, sentence } = useTexts()
  const why = recordingReason(stream)
  const time = (at: string | null) => (at ? formatMoment(Date.parse(at), Date.now(), locale) : DASH)
  return (
    <>
      {why && <Fact name={t(`recording.${recording.state}`)}>{sentence(why)}</Fact>}
      {recording.received_until && (
        <ol class="way" aria-label={t('recording.way')} data-testid="way">
          {STEPS.map(([name, key]) => (
            <li key={name} data-done={recording[name] !== null}>
              <span>{t(key)}</span>
              <span class="fine">{time(recording[name])}</span>
            </li>
          ))}
        </ol>
      )}
    </>
  )
}

/** The way of footage, each step with the time until when it holds. */
const STEPS = [
  ['received_until', 'recording.received'],
  ['durable_until', 'recording.durable'],
  ['stored_until', 'recording.stored'],
  ['indexed_until', 'recording.indexed'],
] as const

function PlanFacts({ camera }: { camera: Camera }) {
  const { t, locale } = useTexts()
  const { recording, attestation } = camera
  const at = attestation ? formatMoment(Date.parse(attestation.at), Date.now(), locale) : ''
  const attested = attestation?.version ? t('attest.by', { name: attestation.by ?? DASH, at }) : null
  return (
    <>
      <Fact name={t('plan.mode')} testId="plan-mode">
        {t(`plan.${recording.mode}`)}
      </Fact>
      {recording.spans?.map((span, index) => (
        <Fact key={index} name={span.days.map((day) => t(knownKey(`day.${day}`) ?? 'day.mon')).join(' ')}>
          {`${span.from} – ${span.to}`}
        </Fact>
      ))}
      {recording.time_zone && <Fact name={t('plan.timeZone')}>{recording.time_zone}</Fact>}
      {recording.kinds && (
        <Fact name={recording.kinds.map((kind) => t(`event.kind.${kind}`)).join(', ')}>
          {t('plan.around', { before: recording.before_s ?? 0, after: recording.after_s ?? 0 })}
        </Fact>
      )}
      {recording.mode !== 'off' && (
        <Fact name={t('facts.audio')}>{t(camera.audio_recorded ? 'recordAudio.on' : 'recordAudio.off')}</Fact>
      )}
      <Fact name={t('attest.title')} testId="attestation">
        {attested ?? t(attestation ? 'attest.before' : 'attest.missing')}
      </Fact>
    </>
  )
}

function CameraFacts({ camera }: { camera: Camera }) {
  const { t } = useTexts()
  const profile = camera.profile
  return (
    <>
      <Fact name={t('facts.place')}>{camera.place}</Fact>
      {profile && <Fact name={t('facts.source')}>{`${profile.manufacturer} ${profile.model}`.trim() || DASH}</Fact>}
      {profile?.firmware && <Fact name={t('add.firmware')}>{profile.firmware}</Fact>}
      <ClockFacts camera={camera} />
      {profile?.explanation && (
        <details class="why">
          <summary>{t('cameras.why')}</summary>
          <Explanation profile={profile} />
        </details>
      )}
    </>
  )
}

/** How far the camera's clock is off, true to how much, and when it was asked. */
function ClockFacts({ camera }: { camera: Camera }) {
  const { t, locale, sentence } = useTexts()
  const clock = camera.device?.clock
  if (!clock) return null
  if (clock.offset_s === null) {
    return <Fact name={t('facts.clockOffset')}>{clock.reason ? sentence(clock.reason) : DASH}</Fact>
  }
  const offset = `${formatNumber(clock.offset_s, locale, 1)} s`
  const uncertain = clock.uncertainty_s ? ` ± ${formatNumber(clock.uncertainty_s, locale, 1)} s` : ''
  return (
    <>
      <Fact name={t('facts.clockOffset')} testId="clock-offset">
        {offset}
        {uncertain}
      </Fact>
      {clock.read_at && (
        <Fact name={t('facts.clockRead')}>{formatMoment(Date.parse(clock.read_at), Date.now(), locale)}</Fact>
      )}
    </>
  )
}
