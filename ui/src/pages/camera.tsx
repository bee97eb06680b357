/** One camera: live, moved by hand, its facts, its recorded footage and what it told by the timeline. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { thumbnailUrl } from '../api'
import { StreamReason } from '../components/badges'
import { EventList } from '../components/event-list'
import { ExportDialog } from '../components/export-dialog'
import { Facts, type Transport, useFigures } from '../components/facts'
import { Loading, Notice } from '../components/feedback'
import { LiveHlsVideo, RecordedVideo } from '../components/hls-videos'
import { Icon } from '../components/icon'
import { LiveVideo } from '../components/live-video'
import { HoldDialog } from '../components/hold-dialog'
import { OtherPlayers } from '../components/other-players'
import { PlayerBar, RATES } from '../components/player-bar'
import { mayMove, PtzPanel } from '../components/ptz-panel'
import { TimelinePanel } from '../components/timeline-panel'
import { peerKey } from '../connections'
import { EVENT_KINDS, useDayEvents } from '../events'
import { type Footage, locate, useDayFootage } from '../footage'
import { formatDuration } from '../format'
import { type Translator, knownKey, useTexts } from '../i18n'
import { useKeys } from '../keys'
import type { PlayerState } from '../live-player'
import { HlsUnsupported, hlsCanBring, isUnreachable, troubleOf } from '../live-source'
import { useMonth } from '../month'
import { usePolled } from '../poller'
import type { RecordedState } from '../recorded-player'
import { href } from '../router'
import { cameras } from '../stores'
import { footageStream, hasSub, streamOfSize, usualStream } from '../streams'
import { type View, dayOf, spanAt } from '../timeline'
import type { Camera, EventKind, LiveStream, Stream, StreamName } from '../types'

const NOTE_MS = 6000
const SETTLE_MS = 400
/** A click this close to now means live. */
const LIVE_EDGE_MS = 3000

export function CameraPage({ id, atMs }: { id: string; atMs: number | null }) {
  const { t, explain } = useTexts()
  const { value, error } = usePolled(cameras)
  const camera = value?.find((candidate) => candidate.id === id)
  if (camera) return <Viewer camera={camera} linkedMs={atMs} />
  if (value) return <Notice kind="warn">{t('error.camera_not_found')}</Notice>
  return error ? <Notice kind="bad">{explain(error)}</Notice> : <Loading />
}

/** `because`: the error that kept WebRTC from bringing it. */
type Source = { kind: 'webrtc' } | { kind: 'hls'; because?: unknown } | { kind: 'recorded'; at: { ms: number } }

function startSource(camera: Camera, linkedMs: number | null): Source | null {
  if (linkedMs !== null && camera.permissions.includes('footage.view')) {
    return { kind: 'recorded', at: { ms: linkedMs } }
  }
  return camera.permissions.includes('live.view') ? { kind: 'webrtc' } : null
}

function Viewer({ camera, linkedMs }: { camera: Camera; linkedMs: number | null }) {
  const { t } = useTexts()
  const [source, setSource] = useState<Source | null>(() => startSource(camera, linkedMs))
  const [day, setDay] = useState<View>(() => dayOf(linkedMs ?? Date.now()))
  const [video, setVideo] = useState<HTMLVideoElement | null>(null)
  const [pictureMs, setPictureMs] = useState<number | null>(linkedMs)
  const nowMs = useNow()
  const canFootage = camera.permissions.includes('footage.view')
  const canExport = camera.permissions.includes('footage.export')
  const [exporting, setExporting] = useState(false)
  const canLive = camera.permissions.includes('live.view')
  const settled = useSettled(video)
  const [footageOf, setFootageOf] = useState(() => footageStream(camera))
  const data = useDayFootage(camera.id, footageOf, day, canFootage && settled)
  const month = useMonth(camera.id, footageOf, canFootage && settled)
  const canEvents = camera.permissions.includes('event.view')
  const events = useDayEvents(camera.id, day, canEvents && settled)
  const [kinds, setKinds] = useState<ReadonlySet<EventKind>>(new Set(EVENT_KINDS))
  const [holding, setHolding] = useState<View | null>(null)
  const transport: Transport = source?.kind ?? 'recorded'
  const [liveStream, setLiveStream] = useState<LiveStream>(() => usualStream(camera))
  const figures = useFigures(peerKey(camera.id, liveStream), camera.id, transport, video)

  const goLive = (kind: 'webrtc' | 'hls', because?: unknown) => {
    setSource(kind === 'hls' ? { kind, because } : { kind })
    setPictureMs(null)
    setDay(dayOf(Date.now()))
    history.replaceState(null, '', href.camera(camera.id))
  }
  const goTo = (ms: number) => {
    if (!canFootage) return
    if (canLive && ms > Date.now() - LIVE_EDGE_MS) return goLive('webrtc')
    setSource({ kind: 'recorded', at: { ms } })
    setPictureMs(ms)
    setDay((shown) => (ms >= shown.startMs && ms < shown.endMs ? shown : dayOf(ms)))
    history.replaceState(null, '', href.camera(camera.id, ms))
  }
  const chooseLive = (stream: LiveStream) => {
    setLiveStream(stream)
    // a codec that kept WebRTC from bringing one stream says nothing of another
    const byCodec = source?.kind === 'hls' && source.because !== undefined && !isUnreachable(source.because)
    if (byCodec && stream !== liveStream) setSource({ kind: 'webrtc' })
  }
  const chooseFootage = (stream: StreamName) => {
    setFootageOf(stream)
    if (source?.kind === 'recorded') goTo(pictureMs ?? source.at.ms)
  }
  const onClock = (ms: number) => {
    setPictureMs(ms)
    // playback that runs past midnight takes the timeline along; a day chosen by hand stays
    setDay((shown) => (ms >= shown.endMs && ms < shown.endMs + 1000 ? dayOf(ms) : shown))
  }
  const clockMs = transport === 'webrtc' ? nowMs : transport === 'hls' ? (figures.hls?.pictureMs ?? null) : pictureMs
  return (
    <div class="camera-page" data-testid="camera-page" data-camera={camera.id} data-source={source?.kind ?? 'none'}>
      <div class="camera-head">
        <a class="button button-icon" href={href.wall} aria-label={t('nav.wall')} title={t('nav.wall')}>
          <Icon name="left" />
        </a>
        <h1>{camera.name}</h1>
        <code class="code">{camera.id}</code>
        {canFootage && (
          <a
            class="button footage-more"
            title={t('footage.more')}
            href={href.footage([camera.id], source?.kind === 'recorded' ? pictureMs : null)}
          >
            <Icon name="wall" />
            <span>{t('footage.more')}</span>
          </a>
        )}
        {canLive && <OtherPlayers camera={camera.id} />}
      </div>
      <Screen
        camera={camera}
        source={source}
        liveStream={liveStream}
        onLiveStream={chooseLive}
        footage={data.footage}
        footageOf={footageOf}
        video={video}
        setVideo={setVideo}
        clockMs={clockMs}
        canFootage={canFootage}
        canLive={canLive}
        goLive={goLive}
        goTo={goTo}
        onClock={onClock}
      />
      <div class="side">
        {settled && mayMove(camera) && <PtzPanel camera={camera} isLive={source?.kind !== 'recorded'} />}
        {settled ? <Facts camera={camera} transport={transport} footageOf={footageOf} figures={figures} /> : <aside class="panel facts" />}
      </div>
      {!settled ? (
        <section class="panel timeline-panel" />
      ) : canFootage || canEvents ? (
        <TimelinePanel
          day={day}
          onDay={setDay}
          data={data}
          canSeek={canFootage}
          occurrences={canEvents ? (events.occurrences ?? []).filter((one) => kinds.has(one.kind)) : null}
          nowMs={nowMs}
          playheadMs={source?.kind === 'recorded' ? (pictureMs ?? source.at.ms) : nowMs}
          live={source?.kind !== 'recorded'}
          onSeek={goTo}
          stream={canFootage && hasSub(camera) ? footageOf : null}
          onStream={chooseFootage}
          onHold={camera.permissions.includes('hold.manage') ? setHolding : null}
          month={month}
          thumbnail={canFootage ? (ms) => thumbnailUrl(camera.id, footageOf, ms) : null}
          onExport={canExport ? () => setExporting(true) : null}
        />
      ) : (
        <section class="panel timeline-panel">
          <p class="fine">{t('timeline.noRight')}</p>
        </section>
      )}
      {settled && canEvents && (
        <EventList
          camera={camera}
          data={events}
          kinds={kinds}
          onKinds={setKinds}
          canSeek={canFootage}
          onSeek={goTo}
          nowMs={nowMs}
        />
      )}
      {holding && (
        <HoldDialog
          camera={camera}
          span={{ startMs: holding.startMs, endMs: Math.min(holding.endMs, Date.now()) }}
          onClose={() => setHolding(null)}
        />
      )}
      {exporting && (
        <ExportDialog
          camera={camera}
          stream={footageOf}
          aroundMs={source?.kind === 'recorded' ? (pictureMs ?? source.at.ms) : nowMs}
          onClose={() => setExporting(false)}
        />
      )}
    </div>
  )
}

/** True from the first picture on, or soon after: the picture comes first, and what stands around it does not hold it up. */
function useSettled(video: HTMLVideoElement | null): boolean {
  const [settled, setSettled] = useState(false)
  useEffect(() => {
    if (settled) return undefined
    const settle = () => setSettled(true)
    const timer = setTimeout(settle, SETTLE_MS)
    video?.addEventListener('playing', settle)
    return () => {
      clearTimeout(timer)
      video?.removeEventListener('playing', settle)
    }
  }, [video, settled])
  return settled
}

function useNow(): number {
  const [nowMs, setNowMs] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [])
  return nowMs
}

interface ScreenProps {
  camera: Camera
  source: Source | null
  liveStream: LiveStream
  onLiveStream: (stream: LiveStream) => void
  footage: Footage | null
  footageOf: StreamName
  video: HTMLVideoElement | null
  setVideo: (video: HTMLVideoElement | null) => void
  clockMs: number | null
  canFootage: boolean
  canLive: boolean
  goLive: (kind: 'webrtc' | 'hls', because?: unknown) => void
  goTo: (ms: number) => void
  onClock: (ms: number) => void
}

/** The picture with its overlay and controls. */
function Screen(props: ScreenProps) {
  const { camera, source, video, liveStream } = props
  const texts = useTexts()
  const watched = watchedStream(camera, liveStream)
  const [live, setLive] = useState<PlayerState>({ kind: 'connecting' })
  // a stream that was pulled on demand is live from now on, whatever the last reading said
  const onLive = (state: PlayerState) => {
    setLive(state)
    if (state.kind === 'playing' && watched.state === 'idle') cameras.refresh()
    // whoever chose WebRTC is told why it is something else
    if (state.kind === 'retrying' && source?.kind === 'webrtc' && hlsCanBring(state.error)) {
      props.goLive('hls', state.error)
    }
  }
  const [recorded, setRecorded] = useState<RecordedState>({ kind: 'loading' })
  const [muted, setMuted] = useState(true)
  const [rate, setRate] = useState(1)
  const step = useRef<((direction: 1 | -1) => void) | null>(null)
  const frame = useRef<HTMLDivElement>(null)
  const paused = usePaused(video)
  const note = useSkippedGap(source, props.footage, props.clockMs)
  const setVideo = useCallback(props.setVideo, [])
  const common = { camera: camera.id, muted, label: camera.name, videoRef: setVideo }
  const jump = (byMs: number) => props.canFootage && props.goTo((props.clockMs ?? Date.now()) + byMs)
  const fullscreen = () =>
    void (document.fullscreenElement ? document.exitFullscreen() : frame.current?.requestFullscreen())
  const pause = () => void (video && (video.paused ? video.play().catch(() => undefined) : video.pause()))
  useKeys({
    ' ': () => source?.kind === 'recorded' && pause(),
    f: fullscreen,
    m: () => hasAudio(camera, source) && setMuted(!muted),
    end: () => props.canLive && source?.kind === 'recorded' && props.goLive('webrtc'),
    k: () => source?.kind === 'recorded' && pause(),
    j: () => source?.kind === 'recorded' && setRate(neighbour(rate, -1)),
    l: () => source?.kind === 'recorded' && setRate(neighbour(rate, 1)),
    ',': () => source?.kind === 'recorded' && step.current?.(-1),
    '.': () => source?.kind === 'recorded' && step.current?.(1),
    arrowleft: () => source?.kind === 'recorded' && jump(-10_000),
    arrowright: () => source?.kind === 'recorded' && jump(10_000),
  })
  return (
    <div class="screen" ref={frame}>
      <div class="picture" onDblClick={fullscreen}>
        {source?.kind === 'webrtc' && camera.enabled && (
          <LiveVideo
            {...common}
            key="webrtc"
            streamName={liveStream}
            stream={watched}
            audio
            queued={false}
            onState={onLive}
          />
        )}
        {source?.kind === 'hls' && <LiveHlsVideo {...common} key="hls" stream={liveStream} onState={onLive} />}
        {source?.kind === 'recorded' && (
          <RecordedVideo
            {...common}
            key={`recorded ${props.footageOf}`}
            stream={props.footageOf}
            at={source.at}
            rate={rate}
            stepRef={step}
            locate={(ms) => locate(camera.id, props.footageOf, ms, props.footage)}
            onState={setRecorded}
            onClock={props.onClock}
            onCaughtUp={() => (props.canLive ? props.goLive('webrtc') : setRecorded({ kind: 'nothing' }))}
          />
        )}
        <Overlay {...props} watched={watched} live={live} recorded={recorded} />
        {note && <p class="picture-note">{note}</p>}
      </div>
      <PlayerBar
        transport={source?.kind ?? 'recorded'}
        canLive={props.canLive}
        clockMs={props.clockMs}
        streaming={camera.enabled && watched.state === 'live'}
        choice={props.canLive && hasSub(camera) ? liveStream : null}
        running={streamOfSize(camera, video?.videoWidth ?? 0, video?.videoHeight ?? 0)}
        because={source?.kind === 'hls' ? source.because : undefined}
        onStream={props.onLiveStream}
        paused={paused}
        muted={muted}
        hasAudio={hasAudio(camera, source)}
        silence={silence(texts, source, live)}
        rate={rate}
        onTransport={(kind) => props.goLive(kind)}
        onPause={pause}
        onMute={() => setMuted(!muted)}
        onRate={setRate}
        onJump={jump}
        onStep={(direction) => step.current?.(direction)}
        onFullscreen={fullscreen}
      />
    </div>
  )
}

/** The stream by whose state a choice is judged: where the line decides, the main one. */
function watchedStream({ streams }: Camera, choice: LiveStream): Stream {
  return (choice === 'sub' ? streams.sub : null) ?? streams.main
}

/** The next speed, slower or faster; the same at the end. */
function neighbour(rate: number, by: 1 | -1): number {
  const index = RATES.findIndex((one) => one === rate)
  return RATES[index + by] ?? rate
}

function usePaused(video: HTMLVideoElement | null): boolean {
  const [paused, setPaused] = useState(false)
  useEffect(() => {
    if (!video) return undefined
    const update = () => setPaused(video.paused && !video.ended)
    video.addEventListener('play', update)
    video.addEventListener('pause', update)
    update()
    return () => {
      video.removeEventListener('play', update)
      video.removeEventListener('pause', update)
    }
  }, [video])
  return paused
}

/** Sound is made into what the transport carries, live and recorded. */
function hasAudio(camera: Camera, source: Source | null): boolean {
  return Boolean(camera.streams.main.audio?.codec && source)
}

/** Why the camera's sound is not heard. */
function silence({ t }: Translator, source: Source | null, live: PlayerState): string | null {
  if (source?.kind !== 'hls' || live.kind !== 'playing' || !live.silent) return null
  return t('player.hlsSilent', { why: t(knownKey(`error.${live.silent}`) ?? 'player.noAudio') })
}

/** A sentence for some seconds after playback went over a gap. */
function useSkippedGap(source: Source | null, footage: Footage | null, clockMs: number | null): string | null {
  const { t, locale, sentence } = useTexts()
  const before = useRef<number | null>(null)
  const [note, setNote] = useState<{ text: string; untilMs: number } | null>(null)
  useEffect(() => {
    const from = source?.kind === 'recorded' ? before.current : null
    before.current = source?.kind === 'recorded' ? clockMs : null
    if (from === null || clockMs === null || clockMs - from < 2000) return
    const gap = footage && spanAt(footage.gaps, (from + clockMs) / 2)
    if (!gap) return
    const duration = formatDuration((gap.endMs - gap.startMs) / 1000, locale)
    setNote({ text: t('player.skippedGap', { duration, cause: sentence(gap) }), untilMs: Date.now() + NOTE_MS })
  }, [clockMs])
  return note && Date.now() < note.untilMs ? note.text : null
}

interface OverlayProps extends ScreenProps {
  watched: Stream
  live: PlayerState
  recorded: RecordedState
}

function Overlay(props: OverlayProps) {
  const { t } = useTexts()
  if (props.source === null) return <span class="overlay overlay-quiet">{t('timeline.hint')}</span>
  if (props.source.kind === 'recorded') return <RecordedOverlay {...props} />
  return <LiveOverlay {...props} />
}

function RecordedOverlay({ recorded, source, canLive, goLive, goTo }: OverlayProps) {
  const { t, explain } = useTexts()
  switch (recorded.kind) {
    case 'playing':
      return null
    case 'loading':
      return <Waiting />
    case 'nothing':
      return (
        <span class="overlay" data-testid="no-footage">
          {t('player.noFootageAfter')}
          {canLive && (
            <button type="button" class="button button-live" onClick={() => goLive('webrtc')}>
              {t('player.toLive')}
            </button>
          )}
        </span>
      )
    case 'failed':
      return (
        <span class="overlay overlay-bad">
          {recorded.error instanceof HlsUnsupported ? t('player.unsupported') : t('player.failed')}
          <span class="fine">{explain(recorded.error)}</span>
          <button
            type="button"
            class="button"
            onClick={() => source?.kind === 'recorded' && goTo(source.at.ms)}
          >
            {t('app.retry')}
          </button>
        </span>
      )
  }
}

function LiveOverlay({ camera, watched, live }: OverlayProps) {
  const { t, explain } = useTexts()
  if (!camera.enabled) return <span class="overlay overlay-off">{t('state.offHint')}</span>
  if (watched.state === 'retrying' || watched.state === 'off')
    return (
      <span class="overlay overlay-bad">
        <StreamReason stream={watched} />
      </span>
    )
  if (live.kind === 'connecting') return <Waiting />
  const trouble = troubleOf(live)
  if (!trouble) return null
  return (
    <span class="overlay overlay-bad">
      {t(trouble.text)}
      {trouble.error !== null && <span class="fine">{explain(trouble.error)}</span>}
    </span>
  )
}

function Waiting() {
  const { t } = useTexts()
  return (
    <span class="overlay overlay-quiet">
      <span class="spinner" aria-hidden="true" />
      {t('player.connecting')}
    </span>
  )
}
