/** Recorded footage of several cameras in one grid, by one clock and one timeline. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { thumbnailUrl } from '../api'
import { ExportDialog } from '../components/export-dialog'
import { Empty, Notice, PollNotice } from '../components/feedback'
import { IconButton } from '../components/icon-button'
import { RATES } from '../components/player-bar'
import { TimelinePanel } from '../components/timeline-panel'
import { type DayFootage, useDayFootage } from '../footage'
import { formatDateTime, formatTime } from '../format'
import { useTexts } from '../i18n'
import { useKeys } from '../keys'
import { useMonth } from '../month'
import { usePolled } from '../poller'
import { href } from '../router'
import { cameras } from '../stores'
import { footageStream } from '../streams'
import { StepClock, type SyncedState, SyncedPlayer, mayRun } from '../synced'
import { type View, dayOf } from '../timeline'
import type { Camera } from '../types'

const MOST = 9
const AT_FIRST = 4
const BEAT_MS = 100
const BACK_MS = 60_000
const STEP_MS = 10_000

export function FootagePage({ ids, atMs }: { ids: readonly string[]; atMs: number | null }) {
  const { t } = useTexts()
  const { value } = usePolled(cameras)
  if (value === null) return <PollNotice poller={cameras} />
  const mine = value.filter((camera) => camera.permissions.includes('footage.view'))
  if (mine.length === 0) return <Notice kind="warn">{t('app.noRight')}</Notice>
  const named = mine.filter((camera) => ids.includes(camera.id))
  return <Together all={mine} chosen={(named.length > 0 ? named : mine.slice(0, AT_FIRST)).slice(0, MOST)} atMs={atMs} />
}

interface Beat {
  nowMs: number
  drifts: Record<string, number | null>
  states: Record<string, SyncedState>
}

function Together({ all, chosen, atMs }: { all: Camera[]; chosen: Camera[]; atMs: number | null }) {
  const { t, locale } = useTexts()
  const [startMs] = useState(() => atMs ?? Date.now() - BACK_MS)
  const clock = useMemo(() => new StepClock(startMs), [])
  const [day, setDay] = useState<View>(() => dayOf(startMs))
  const [wanted, setWanted] = useState(true)
  const [rate, setRate] = useState(1)
  const [exporting, setExporting] = useState(false)
  const [first, setFirst] = useState<string | null>(null)
  const leading = chosen.find((camera) => camera.id === first) ?? chosen[0]
  const data = useRef<Record<string, DayFootage>>({})
  const players = useRef(new Map<string, SyncedPlayer>())
  const beat = useBeat(clock, wanted, players.current, data.current)
  const month = useMonth(leading?.id ?? '', leading ? footageStream(leading) : 'main', leading !== undefined)
  const names = chosen.map((camera) => camera.id)
  const show = (ids: readonly string[]) => history.replaceState(null, '', href.footage(ids, clock.now()))
  const goTo = (ms: number) => {
    clock.goTo(Math.min(ms, Date.now()))
    setDay((shown) => (ms >= shown.startMs && ms < shown.endMs ? shown : dayOf(ms)))
    show(names)
  }
  const speed = (next: number) => {
    setRate(next)
    clock.setRate(next)
  }
  useKeys({
    ' ': () => setWanted(!wanted),
    k: () => setWanted(!wanted),
    j: () => speed(RATES[Math.max(0, RATES.findIndex((one) => one === rate) - 1)] ?? rate),
    l: () => speed(RATES[RATES.findIndex((one) => one === rate) + 1] ?? rate),
    arrowleft: () => goTo(clock.now() - STEP_MS),
    arrowright: () => goTo(clock.now() + STEP_MS),
  })
  if (!leading) return <Empty title={t('app.noRight')} />
  return (
    <div class="footage-page" data-testid="footage-page" data-ms={Math.round(beat.nowMs)}>
      <div class="toolbar">
        <h1>{t('footage.title')}</h1>
        <CameraPicker all={all} chosen={names} onChosen={(ids) => (location.hash = href.footage(ids, clock.now()))} />
      </div>
      <ul class="footage-grid" style={gridOf(chosen.length)}>
        {chosen.map((camera) => (
          <Tile
            key={camera.id}
            camera={camera}
            day={day}
            clock={clock}
            isLeading={camera.id === leading.id}
            state={beat.states[camera.id] ?? { kind: 'loading' }}
            driftMs={beat.drifts[camera.id] ?? null}
            onLead={() => setFirst(camera.id)}
            onData={(found) => (data.current[camera.id] = found)}
            onPlayer={(player) =>
              player ? players.current.set(camera.id, player) : players.current.delete(camera.id)
            }
          />
        ))}
      </ul>
      <div class="player-bar panel">
        <div class="button-group">
          <IconButton icon="back" label={t('player.back')} onClick={() => goTo(clock.now() - STEP_MS)} />
          <IconButton
            icon={wanted ? 'pause' : 'play'}
            label={t(wanted ? 'player.pause' : 'player.play')}
            testId="pause"
            onClick={() => setWanted(!wanted)}
          />
          <IconButton icon="forward" label={t('player.forward')} onClick={() => goTo(clock.now() + STEP_MS)} />
        </div>
        <div class="clock clock-recorded">
          <span class="clock-mode">{t('player.recorded')}</span>
          <time data-testid="picture-time" data-ms={Math.round(beat.nowMs)}>
            {formatDateTime(beat.nowMs, locale)}
          </time>
        </div>
        <div class="player-bar-end">
          <label class="rate">
            <span class="sr-only">{t('player.speed')}</span>
            <select
              value={String(rate)}
              title={t('player.speed')}
              data-testid="rate"
              onChange={(event) => speed(Number(event.currentTarget.value))}
            >
              {RATES.map((one) => (
                <option key={one} value={String(one)}>
                  {one}×
                </option>
              ))}
            </select>
          </label>
        </div>
      </div>
      <p class="fine">{t('footage.whose', { name: leading.name })}</p>
      <TimelinePanel
        key={leading.id}
        day={day}
        onDay={setDay}
        data={data.current[leading.id] ?? { footage: null, error: null }}
        canSeek
        occurrences={null}
        nowMs={Date.now()}
        playheadMs={beat.nowMs}
        live={false}
        onSeek={goTo}
        stream={null}
        onHold={null}
        onExport={leading.permissions.includes('footage.export') ? () => setExporting(true) : null}
        onStream={() => undefined}
        month={month}
        beside={chosen
          .filter((camera) => camera !== leading)
          .map((camera) => ({ name: camera.name, footage: data.current[camera.id]?.footage ?? null }))}
        thumbnail={(ms) => thumbnailUrl(leading.id, footageStream(leading), ms)}
      />
      {exporting && (
        <ExportDialog
          camera={leading}
          beside={chosen.map((camera) => camera.id)}
          stream={footageStream(leading)}
          aroundMs={beat.nowMs}
          onClose={() => setExporting(false)}
        />
      )}
    </div>
  )
}

/** As square as can be, as wide as leaves room for what is below. */
function gridOf(count: number) {
  const columns = Math.ceil(Math.sqrt(count))
  return { '--columns': columns, '--rows': Math.ceil(count / columns) }
}

/** Moves everybody on, ten times a second, and tells how they are. */
function useBeat(
  clock: StepClock,
  wanted: boolean,
  players: Map<string, SyncedPlayer>,
  data: Record<string, DayFootage>,
): Beat {
  const [beat, setBeat] = useState<Beat>({ nowMs: clock.now(), drifts: {}, states: {} })
  useEffect(() => {
    let heldMs = performance.now()
    if (!wanted) clock.run(false)
    const timer = setInterval(() => {
      for (const [id, player] of players) player.follow(data[id]?.footage ?? null)
      if (clock.running || !wanted) heldMs = performance.now()
      else if (mayRun(players.values(), performance.now() - heldMs)) clock.run(true)
      if (clock.now() > Date.now()) clock.run(false)
      const all = [...players]
      setBeat({
        nowMs: clock.now(),
        drifts: Object.fromEntries(all.map(([id, player]) => [id, player.driftMs])),
        states: Object.fromEntries(all.map(([id, player]) => [id, player.state])),
      })
    }, BEAT_MS)
    return () => clearInterval(timer)
  }, [wanted, clock])
  return beat
}

interface TileProps {
  camera: Camera
  day: View
  clock: StepClock
  isLeading: boolean
  state: SyncedState
  driftMs: number | null
  onLead: () => void
  onData: (data: DayFootage) => void
  onPlayer: (player: SyncedPlayer | null) => void
}

function Tile({ camera, day, clock, isLeading, state, driftMs, onLead, onData, onPlayer }: TileProps) {
  const { t } = useTexts()
  const video = useRef<HTMLVideoElement>(null)
  const stream = footageStream(camera)
  onData(useDayFootage(camera.id, stream, day, true))
  useEffect(() => {
    if (!video.current) return undefined
    const player = new SyncedPlayer(video.current, camera.id, stream, clock)
    onPlayer(player)
    return () => {
      player.close()
      onPlayer(null)
    }
  }, [camera.id, stream])
  return (
    <li
      class={isLeading ? 'footage-tile footage-leading' : 'footage-tile'}
      data-testid="footage-tile"
      data-camera={camera.id}
      data-state={state.kind}
      data-drift={driftMs === null ? undefined : driftMs.toFixed(1)}
    >
      <video ref={video} class="video" muted playsInline disablePictureInPicture aria-label={camera.name} />
      <TileNote state={state} />
      <button type="button" class="footage-name" aria-pressed={isLeading} title={t('footage.lead')} onClick={onLead}>
        {camera.name}
      </button>
    </li>
  )
}

function TileNote({ state }: { state: SyncedState }) {
  const { t, locale, sentence, explain } = useTexts()
  switch (state.kind) {
    case 'playing':
      return null
    case 'loading':
      return <span class="overlay overlay-quiet">{t('player.connecting')}</span>
    case 'failed':
      return <span class="overlay overlay-bad">{explain(state.error)}</span>
    case 'gap':
      return (
        <span class="overlay footage-gap" data-testid="footage-gap">
          {state.gap ? sentence(state.gap) : t('timeline.nothing')}
          {state.untilMs !== null && (
            <span class="fine">{t('footage.until', { time: formatTime(state.untilMs, locale) })}</span>
          )}
        </span>
      )
  }
}

interface PickerProps {
  all: Camera[]
  chosen: string[]
  onChosen: (ids: string[]) => void
}

function CameraPicker({ all, chosen, onChosen }: PickerProps) {
  const { t } = useTexts()
  const toggle = (id: string) =>
    onChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id])
  return (
    <details class="camera-picker">
      <summary class="button" data-testid="pick-cameras">
        {t('footage.pick', { count: String(chosen.length), most: String(MOST) })}
      </summary>
      <ul class="panel">
        {all.map((camera) => {
          const on = chosen.includes(camera.id)
          return (
            <li key={camera.id}>
              <label>
                <input
                  type="checkbox"
                  checked={on}
                  disabled={on ? chosen.length === 1 : chosen.length >= MOST}
                  onChange={() => toggle(camera.id)}
                />
                {camera.name}
              </label>
            </li>
          )
        })}
      </ul>
    </details>
  )
}
