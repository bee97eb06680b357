/** All cameras the account may see, live. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { whepUrl } from '../api'
import { cameraState, RecordingBadge, StateBadge, StreamReason } from '../components/badges'
import { Empty, Loading, Notice } from '../components/feedback'
import { Icon } from '../components/icon'
import { LiveVideo } from '../components/live-video'
import { formatDateTime } from '../format'
import { fitGrid } from '../grid'
import { useTexts } from '../i18n'
import type { PlayerState } from '../live-player'
import { usePolled } from '../poller'
import { href } from '../router'
import { may, useSession } from '../session'
import { cameras } from '../stores'
import { leadingStream, recordedStreams, tileStream } from '../streams'
import type { Camera } from '../types'
import { joinAhead, prepareJoin } from '../whep'

const GAP_PX = 8
const LEAST_TILE_PX = 260
/** A tile scrolled out of view keeps its stream this long, so that scrolling back and forth costs no joins. */
const LINGER_MS = 5000
/** After the tiles have had their turn. */
const PREPARE_MS = 500

export function WallPage() {
  const { t, explain } = useTexts()
  usePreparedJoin()
  const { value, error } = usePolled(cameras)
  const [search, setSearch] = useState('')
  const [onlyProblems, setOnlyProblems] = useState(false)
  if (value === null) {
    return error ? (
      <Notice kind="bad" onRetry={() => cameras.refresh()}>
        {explain(error)}
      </Notice>
    ) : (
      <Loading />
    )
  }
  if (value.length === 0) return <EmptyWall />
  const shown = value.filter((camera) => matches(camera, search) && (!onlyProblems || hasProblem(camera)))
  return (
    <div class="wall">
      <h1 class="sr-only">{t('wall.title')}</h1>
      <div class="toolbar">
        <Summary list={value} />
        <div class="toolbar-end">
          <label class="search">
            <Icon name="search" />
            <span class="sr-only">{t('wall.search')}</span>
            <input
              type="search"
              value={search}
              placeholder={t('wall.search')}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          </label>
          <div class="segmented" role="group">
            <button type="button" aria-pressed={!onlyProblems} onClick={() => setOnlyProblems(false)}>
              {t('wall.all')}
            </button>
            <button type="button" aria-pressed={onlyProblems} onClick={() => setOnlyProblems(true)}>
              {t('wall.problems')}
            </button>
          </div>
        </div>
      </div>
      {error !== null && <Notice kind="warn">{t('app.offline')}</Notice>}
      {shown.length === 0 ? <Empty title={t('wall.noMatch')} /> : <Grid list={shown} />}
    </div>
  )
}

/** What most likely comes next is a click on a tile. */
function usePreparedJoin(): void {
  const { locale } = useTexts()
  useEffect(() => {
    const timer = setTimeout(() => {
      prepareJoin()
      // makes the formatters of the clock beside the picture, which takes longer than the join
      formatDateTime(Date.now(), locale)
    }, PREPARE_MS)
    return () => clearTimeout(timer)
  }, [locale])
}

function matches(camera: Camera, search: string): boolean {
  const wanted = search.trim().toLocaleLowerCase()
  return `${camera.name} ${camera.id} ${camera.place}`.toLocaleLowerCase().includes(wanted)
}

function hasProblem(camera: Camera): boolean {
  const state = cameraState(camera)
  const recordingFails = recordedStreams(camera).some((stream) => stream.recording?.state === 'failed')
  return state === 'retrying' || state === 'connecting' || recordingFails
}

function Summary({ list }: { list: Camera[] }) {
  const { t } = useTexts()
  const live = list.filter((camera) => ['live', 'idle'].includes(cameraState(camera))).length
  const recording = list.filter((camera) => leadingStream(camera).recording?.state === 'recording').length
  return (
    <p class="summary" role="status" data-testid="summary">
      <span class="badge state-live">
        <span class="badge-dot" aria-hidden="true" />
        {t('wall.live', { count: live })}
      </span>
      {live < list.length && (
        <span class="badge state-retrying">
          <span class="badge-dot" aria-hidden="true" />
          {t('wall.notLive', { count: list.length - live })}
        </span>
      )}
      <span class="badge recording-recording">
        <span class="badge-rec" aria-hidden="true" />
        {t('wall.recording', { count: recording })}
      </span>
    </p>
  )
}

function EmptyWall() {
  const { t } = useTexts()
  const session = useSession()
  if (!may(session, 'camera.manage'))
    return <Empty title={t('wall.empty')}>{t('wall.emptyViewer')}</Empty>
  return (
    <Empty title={t('wall.empty')}>
      <p>{t('wall.emptyHint')}</p>
      <a class="button button-primary" href={href.cameras}>
        {t('cameras.add')}
      </a>
    </Empty>
  )
}

/** Fills what is left of the window; scrolls where tiles would become too small. */
function Grid({ list }: { list: Camera[] }) {
  const grid = useRef<HTMLUListElement>(null)
  useLayoutEffect(() => {
    const element = grid.current
    if (!element) return undefined
    const fit = () => {
      const height = innerHeight - element.getBoundingClientRect().top - scrollY - 2 * GAP_PX
      const { columns, tilePx } = fitGrid(list.length, element.clientWidth, height, GAP_PX, LEAST_TILE_PX)
      element.style.setProperty('--columns', String(columns))
      element.style.setProperty('--tile', `${tilePx}px`)
    }
    const observer = new ResizeObserver(fit)
    observer.observe(document.documentElement)
    fit()
    return () => observer.disconnect()
  }, [list.length])
  return (
    <ul class="grid" ref={grid}>
      {list.map((camera) => (
        <Tile key={camera.id} camera={camera} />
      ))}
    </ul>
  )
}

function Tile({ camera }: { camera: Camera }) {
  const { t } = useTexts()
  const item = useRef<HTMLLIElement>(null)
  const inView = useInView(item)
  const [player, setPlayer] = useState<PlayerState>({ kind: 'connecting' })
  const streamName = tileStream(camera)
  const stream = camera.streams[streamName] ?? camera.streams.main
  const permitted = camera.permissions.includes('live.view')
  const reachable = camera.enabled && (stream.state === 'live' || stream.state === 'idle')
  return (
    <li class="tile" ref={item} data-testid="tile" data-camera={camera.id} data-stream={streamName}>
      <a
        class="tile-link"
        href={href.camera(camera.id)}
        aria-label={t('wall.open', { name: camera.name })}
        onClick={(event) => permitted && camera.enabled && joinFromClick(event, camera.id)}
      >
        {permitted && camera.enabled && inView && (
          <LiveVideo
            camera={camera.id}
            streamName={streamName}
            stream={stream}
            audio={false}
            muted
            queued
            label={camera.name}
            onState={setPlayer}
          />
        )}
        <TileOverlay camera={camera} player={player} reachable={reachable} permitted={permitted} />
        <span class="tile-head">
          <span class="tile-name">{camera.name}</span>
          {camera.enabled && <RecordingBadge recording={leadingStream(camera).recording} short />}
          <StateBadge state={camera.enabled ? shownState(stream.state, player) : 'off'} />
        </span>
      </a>
    </li>
  )
}

/** The click itself begins the join, before the camera's page is even made. */
function joinFromClick(event: MouseEvent, camera: string): void {
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey
  if (!elsewhere) joinAhead(whepUrl(camera, 'main'))
}

/** A stream pulled on demand is `idle` until we join; once it plays it is live whatever the last poll said. */
function shownState(state: Camera['streams']['main']['state'], player: PlayerState) {
  return state === 'idle' && player.kind === 'playing' ? 'live' : state
}

interface OverlayProps {
  camera: Camera
  player: PlayerState
  reachable: boolean
  permitted: boolean
}

/** Says why a tile shows no live picture; covers an old picture, so that nobody takes it for a live one. */
function TileOverlay({ camera, player, reachable, permitted }: OverlayProps) {
  const { t, explain } = useTexts()
  const stream = camera.streams[tileStream(camera)] ?? camera.streams.main
  if (!permitted) return <span class="overlay">{t('wall.noLiveRight')}</span>
  if (!camera.enabled) return <span class="overlay overlay-off">{t('state.offHint')}</span>
  if (!reachable)
    return (
      <span class="overlay overlay-bad">
        <StreamReason stream={stream} />
      </span>
    )
  if (player.kind === 'playing') return null
  if (player.kind === 'connecting')
    return (
      <span class="overlay overlay-quiet">
        <span class="spinner" aria-hidden="true" />
        <span class="sr-only">{t('player.connecting')}</span>
      </span>
    )
  const text = player.kind === 'stale' ? t('player.stale') : t('player.reconnecting')
  const why = player.kind === 'retrying' && player.error ? explain(player.error) : null
  return (
    <span class="overlay overlay-bad">
      {text}
      {why && <span class="fine">{why}</span>}
    </span>
  )
}

function useInView(element: { current: HTMLElement | null }): boolean {
  const [inView, setInView] = useState(false)
  useEffect(() => {
    if (!element.current) return undefined
    let leaving: ReturnType<typeof setTimeout> | undefined
    const observer = new IntersectionObserver(
      (entries) => {
        clearTimeout(leaving)
        if (entries.at(-1)?.isIntersecting) setInView(true)
        else leaving = setTimeout(() => setInView(false), LINGER_MS)
      },
      { rootMargin: '200px' },
    )
    observer.observe(element.current)
    return () => {
      clearTimeout(leaving)
      observer.disconnect()
    }
  }, [])
  return inView
}
