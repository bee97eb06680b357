/** A camera on the wall: its small stream, and enlarged in place its main one. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { snapshotUrl, whepUrl } from '../api'
import { useTexts } from '../i18n'
import { useInView } from '../in-view'
import type { PlayerState } from '../live-player'
import { troubleOf } from '../live-source'
import { href } from '../router'
import { leadingStream, tileStream, usualStream } from '../streams'
import type { Camera, Stream, StreamName } from '../types'
import { joinAhead } from '../whep'
import { RecordingBadge, StateBadge, StreamReason } from './badges'
import { Icon } from './icon'
import { LiveVideo } from './live-video'

/** What joins in its turn has a picture by then; a still one is fetched for whoever has not. */
const POSTER_AFTER_MS = 800
/** As wide as tiles are: the same for all of them, so that the server makes one picture. */
const POSTER_PX = 640

interface TileProps {
  camera: Camera
  isEnlarged: boolean
  /** Another tile is enlarged and covers this one. */
  isCovered: boolean
  /** The page is looked at. */
  isSeen: boolean
  onEnlarge: () => void
  onReturn: () => void
}

export function Tile({ camera, isEnlarged, isCovered, isSeen, onEnlarge, onReturn }: TileProps) {
  const { t } = useTexts()
  const item = useRef<HTMLLIElement>(null)
  const inView = useInView(item)
  const [player, setPlayer] = useState<PlayerState>({ kind: 'connecting' })
  const streamName = tileStream(camera)
  const stream = camera.streams[streamName] ?? camera.streams.main
  const permitted = camera.permissions.includes('live.view')
  const reachable = camera.enabled && (stream.state === 'live' || stream.state === 'idle')
  const plays = permitted && camera.enabled && inView && isSeen
  const poster = usePoster(camera.id, streamName, plays && reachable && player.kind === 'connecting')
  const isOver = plays && isEnlarged && streamName !== 'main'
  const enlarge = () => {
    // the click itself begins the join, before anything is drawn
    if (plays && streamName !== 'main') void joinAhead(whepUrl(camera.id, 'main'), false)
    onEnlarge()
  }
  return (
    <li class="tile" ref={item} data-testid="tile" data-camera={camera.id} data-stream={streamName} inert={isCovered}>
      <div class={isEnlarged ? 'tile-box tile-enlarged' : 'tile-box'} data-testid={isEnlarged ? 'enlarged' : undefined}>
        <button
          type="button"
          class="tile-picture"
          aria-label={t(isEnlarged ? 'wall.reduce' : 'wall.enlarge', { name: camera.name })}
          aria-expanded={isEnlarged}
          data-testid="enlarge"
          disabled={!permitted}
          onClick={isEnlarged ? onReturn : enlarge}
        >
          {plays && (
            <LiveVideo
              camera={camera.id}
              streamName={streamName}
              stream={stream}
              audio={false}
              muted
              queued
              label={camera.name}
              poster={poster}
              onState={setPlayer}
            />
          )}
          {isOver && <MainOver camera={camera} />}
          <TileOverlay camera={camera} stream={stream} player={player} reachable={reachable} permitted={permitted} />
        </button>
        <div class="tile-head">
          <a class="tile-name" href={href.camera(camera.id)} data-testid="tile-link" title={t('wall.open', { name: camera.name })} onClick={(event) => openAhead(event, camera)}>
            {camera.name}
          </a>
          {camera.enabled && <RecordingBadge recording={leadingStream(camera).recording} short />}
          <StateBadge state={camera.enabled ? shownState(stream.state, player) : 'off'} />
        </div>
        {isEnlarged && (
          <button type="button" class="button button-icon tile-close" aria-label={t('wall.back')} title={t('wall.back')} onClick={onReturn}>
            <Icon name="close" />
          </button>
        )}
      </div>
    </li>
  )
}

/** The main stream over the small one, which is seen until the first picture of the main one. */
function MainOver({ camera }: { camera: Camera }) {
  const { t, explain } = useTexts()
  const [player, setPlayer] = useState<PlayerState>({ kind: 'connecting' })
  const trouble = troubleOf(player)
  return (
    <span class="tile-main" data-testid="tile-main" data-player={player.kind}>
      <LiveVideo
        camera={camera.id}
        streamName="main"
        stream={camera.streams.main}
        audio={false}
        muted
        queued={false}
        label={camera.name}
        onState={setPlayer}
      />
      {player.kind === 'connecting' && (
        <span class="tile-note">
          <span class="spinner spinner-small" aria-hidden="true" />
          {t('wall.mainComing')}
        </span>
      )}
      {trouble && (
        <span class="tile-note">
          {t('wall.mainLost')} {trouble.text === 'player.hevcLost' ? t(trouble.text) : trouble.error ? explain(trouble.error) : null}
        </span>
      )}
    </span>
  )
}

/** The address of a still picture for whoever waits longer than others; none once it plays. */
function usePoster(camera: string, stream: StreamName, isWaiting: boolean): string | undefined {
  const [poster, setPoster] = useState<string>()
  useEffect(() => {
    if (!isWaiting) return undefined
    const timer = setTimeout(() => setPoster(snapshotUrl(camera, stream, POSTER_PX)), POSTER_AFTER_MS)
    return () => {
      clearTimeout(timer)
      setPoster(undefined)
    }
  }, [camera, stream, isWaiting])
  return poster
}

/** The click on a name begins the join, before the camera's page is even made. */
function openAhead(event: MouseEvent, camera: Camera): void {
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey
  if (elsewhere || !camera.enabled || !camera.permissions.includes('live.view')) return
  void joinAhead(whepUrl(camera.id, usualStream(camera)), true)
}

/** A stream pulled on demand is `idle` until we join; once it plays it is live whatever the last poll said. */
function shownState(state: Stream['state'], player: PlayerState) {
  return state === 'idle' && player.kind === 'playing' ? 'live' : state
}

interface OverlayProps {
  camera: Camera
  stream: Stream
  player: PlayerState
  reachable: boolean
  permitted: boolean
}

/** Says why a tile shows no live picture; covers an old picture, so that nobody takes it for a live one. */
function TileOverlay({ camera, stream, player, reachable, permitted }: OverlayProps) {
  const { t, explain } = useTexts()
  if (!permitted) return <span class="overlay">{t('wall.noLiveRight')}</span>
  if (!camera.enabled) return <span class="overlay overlay-off">{t('state.offHint')}</span>
  if (!reachable)
    return (
      <span class="overlay overlay-bad">
        <StreamReason stream={stream} />
      </span>
    )
  if (player.kind === 'connecting')
    return (
      <span class="overlay overlay-quiet">
        <span class="spinner" aria-hidden="true" />
        <span class="sr-only">{t('player.connecting')}</span>
      </span>
    )
  const trouble = troubleOf(player)
  if (!trouble) return null
  return (
    <span class="overlay overlay-bad">
      {t(trouble.text)}
      {trouble.error !== null && <span class="fine">{explain(trouble.error)}</span>}
    </span>
  )
}
