/** Moves a camera: hold a button or a key to move, let go to stop; presets; and who holds the camera. */
import type { ComponentChildren } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, ApiError } from '../api'
import { formatMoment, formatNumber } from '../format'
import { useTexts } from '../i18n'
import { Poller, usePolled } from '../poller'
import { type Direction, SPEEDS, type Speed, directionOfKeys, handles, isPtzKey, moveCommand } from '../ptz'
import { PtzMover } from '../ptz-mover'
import { useSession } from '../session'
import type { Camera, PtzCommand, PtzLock, PtzState } from '../types'
import { Notice } from './feedback'
import { Icon, type IconName } from './icon'
import { PtzPresets } from './ptz-presets'
import { Segmented } from './segmented'

const POLL_MS = 2000
/** A third of what the server allows between two commands, within reason. */
const repeatMs = (holdS: number) => Math.min(1000, Math.max(150, (holdS * 1000) / 3))

/** Whether there may be something to move: then the panel asks. */
export function mayMove(camera: Camera): boolean {
  const state = camera.device?.services['ptz']?.state
  return camera.enabled && camera.permissions.includes('ptz.control') && (state === 'ok' || state === 'offered')
}

/** `isLive` false: what is seen is not what the camera sees now. */
export function PtzPanel({ camera, isLive }: { camera: Camera; isLive: boolean }) {
  const { t, explain } = useTexts()
  const poller = useMemo(() => new Poller((signal) => api.ptz(camera.id, signal), POLL_MS), [camera.id])
  const { value: state, error } = usePolled(poller)
  if (error instanceof ApiError && error.code === 'ptz_unsupported') return null
  return (
    <section class="panel ptz" aria-label={t('ptz.title')} data-testid="ptz">
      <h2 class="fact-title">{t('ptz.title')}</h2>
      {state ? (
        <Desk camera={camera} state={state} isLive={isLive} onChange={() => poller.refresh()} />
      ) : (
        error !== null && <Notice kind="bad">{explain(error)}</Notice>
      )}
    </section>
  )
}

interface DeskProps {
  camera: Camera
  state: PtzState
  isLive: boolean
  onChange: () => void
}

function Desk({ camera, state, isLive, onChange }: DeskProps) {
  const { t, locale, explain } = useTexts()
  const me = useSession().principal.username
  const [speed, setSpeed] = useState<Speed>('medium')
  const [error, setError] = useState<unknown>(null)
  const { mover, moving } = useMover(camera.id, state.hold_s, setError, onChange)
  const locked = state.lock !== null && state.lock.username !== me
  const disabled = locked || !isLive
  useEffect(() => void (disabled && mover.release()), [disabled])
  const hold = (by: string, to: Direction) => {
    const command = disabled ? null : moveCommand(state.moves, to, speed)
    if (!command) return mover.release(by)
    setError(null)
    mover.hold(by, command)
  }
  const { turns, zooms } = handles(state.moves)
  // who holds the camera is said by name right below
  const told = error instanceof ApiError && error.code === 'ptz_locked' ? null : error
  return (
    <>
      {(turns || zooms) && (
        <Pad {...{ turns, zooms, moving, disabled, hold }} release={(by) => mover.release(by)}>
          <SpeedChoice speed={speed} onSpeed={setSpeed} />
        </Pad>
      )}
      <PtzPresets camera={camera.id} disabled={disabled} onChange={onChange} />
      <Holder camera={camera.id} lock={state.lock} locked={locked} onChange={onChange} />
      {!isLive && <p class="fine">{t('ptz.onlyLive')}</p>}
      {told !== null && (
        <Notice kind="bad" testId="ptz-error">
          {explain(told)} {isNetwork(told) && t('ptz.stopsItself', { seconds: formatNumber(state.hold_s, locale, 1) })}
        </Notice>
      )}
    </>
  )
}

const isNetwork = (error: unknown) => !(error instanceof ApiError) || error.status === 0

/** Whatever takes the person's hand, or the page, away from the camera stops it. */
function useMover(camera: string, holdS: number, onError: (error: unknown) => void, onTurn: () => void) {
  const [moving, setMoving] = useState<PtzCommand | null>(null)
  const latest = useRef({ onError, onTurn })
  latest.current = { onError, onTurn }
  const mover = useMemo(
    () =>
      new PtzMover({
        send: (command) => api.movePtz(camera, command),
        repeatMs: repeatMs(holdS),
        onMove: setMoving,
        onError: (error) => latest.current.onError(error),
        onTurn: () => latest.current.onTurn(),
      }),
    [camera, holdS],
  )
  useEffect(() => {
    const stop = () => mover.release()
    const stopHidden = () => void (document.hidden && mover.release())
    document.addEventListener('visibilitychange', stopHidden)
    for (const event of ['blur', 'pagehide', 'offline']) addEventListener(event, stop)
    return () => {
      document.removeEventListener('visibilitychange', stopHidden)
      for (const event of ['blur', 'pagehide', 'offline']) removeEventListener(event, stop)
      mover.release()
    }
  }, [mover])
  return { mover, moving }
}

interface PadProps {
  turns: boolean
  zooms: boolean
  moving: PtzCommand | null
  disabled: boolean
  hold: (by: string, to: Direction) => void
  release: (by: string) => void
  children: ComponentChildren
}

const ARROWS = [
  ['upLeft', -1, 1],
  ['up', 0, 1],
  ['upRight', 1, 1],
  ['left', -1, 0],
  null,
  ['right', 1, 0],
  ['downLeft', -1, -1],
  ['down', 0, -1],
  ['downRight', 1, -1],
] as const

/** One stop of the tab key: the arrow keys, + and − move while it has the focus. */
function Pad(props: PadProps) {
  const { t } = useTexts()
  const keys = useKeysHeld(props)
  return (
    <div
      class="ptz-pad"
      role="application"
      tabIndex={0}
      aria-label={t('ptz.keys')}
      aria-disabled={props.disabled}
      title={t('ptz.keys')}
      data-testid="ptz-pad"
      {...keys}
    >
      {props.turns && (
        <div class="ptz-arrows">
          {ARROWS.map((arrow) =>
            arrow ? (
              <Handle key={arrow[0]} {...props} name={arrow[0]} to={{ pan: arrow[1], tilt: arrow[2], zoom: 0 }} />
            ) : (
              <span key="middle" class={props.moving ? 'ptz-middle ptz-moving' : 'ptz-middle'} aria-hidden="true" />
            ),
          )}
        </div>
      )}
      <div class="ptz-side">
        {props.zooms && (
          <div class="ptz-zoom">
            <Handle {...props} name="zoomOut" icon="minus" to={{ pan: 0, tilt: 0, zoom: -1 }} />
            <span class="fine">{t('ptz.zoom')}</span>
            <Handle {...props} name="zoomIn" icon="plus" to={{ pan: 0, tilt: 0, zoom: 1 }} />
          </div>
        )}
        {props.children}
      </div>
    </div>
  )
}

type HandleName = 'zoomIn' | 'zoomOut' | NonNullable<(typeof ARROWS)[number]>[0]

/** Moves while a pointer is down on it; a finger that slides off lets go like a mouse that leaves. */
function Handle({ name, icon, to, disabled, hold, release }: PadProps & { name: HandleName; icon?: IconName; to: Direction }) {
  const { t } = useTexts()
  const letGo = (event: PointerEvent) => release(`pointer ${event.pointerId}`)
  return (
    <button
      type="button"
      class="button button-icon ptz-handle"
      tabIndex={-1}
      disabled={disabled}
      aria-label={t(`ptz.way.${name}`)}
      data-testid={`ptz-${name}`}
      onPointerDown={(event) => {
        if (event.button !== 0) return
        // a finger captures what it touches, and would then never leave
        const touched = event.target as Element
        if (touched.hasPointerCapture(event.pointerId)) touched.releasePointerCapture(event.pointerId)
        event.currentTarget.closest<HTMLElement>('.ptz-pad')?.focus({ preventScroll: true })
        hold(`pointer ${event.pointerId}`, to)
      }}
      onPointerUp={letGo}
      onPointerLeave={letGo}
      onPointerCancel={letGo}
      onMouseDown={(event) => event.preventDefault()}
      onContextMenu={(event) => event.preventDefault()}
    >
      {icon ? <Icon name={icon} /> : <Arrow to={to} />}
    </button>
  )
}

function Arrow({ to }: { to: Direction }) {
  const degrees = (Math.atan2(to.pan, to.tilt) * 180) / Math.PI
  return (
    <svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
      <path d="M12 18V7m-5 5 5-5 5 5" transform={`rotate(${degrees} 12 12)`} />
    </svg>
  )
}

/** The keys that are down, each by where it lies: shift may change its name before it comes up. */
function useKeysHeld({ hold, release }: PadProps) {
  const held = useRef(new Map<string, string>())
  const letGo = () => {
    held.current.clear()
    release('keys')
  }
  return {
    onKeyDown: (event: KeyboardEvent) => {
      if (!isPtzKey(event.key) || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      if (event.repeat || held.current.has(event.code)) return
      held.current.set(event.code, event.key)
      hold('keys', directionOfKeys(held.current.values()))
    },
    onKeyUp: (event: KeyboardEvent) => {
      if (!held.current.delete(event.code)) return
      if (held.current.size === 0) letGo()
      else hold('keys', directionOfKeys(held.current.values()))
    },
    onFocusOut: letGo,
  }
}

function SpeedChoice({ speed, onSpeed }: { speed: Speed; onSpeed: (speed: Speed) => void }) {
  const { t } = useTexts()
  return (
    <Segmented
      label={t('ptz.speed')}
      chosen={speed}
      choices={(Object.keys(SPEEDS) as Speed[]).map((value) => ({
        value,
        text: t(`ptz.speed.${value}`),
        title: t('ptz.speed'),
        testId: `ptz-${value}`,
      }))}
      onChoose={onSpeed}
    />
  )
}

interface HolderProps {
  camera: string
  lock: PtzLock | null
  locked: boolean
  onChange: () => void
}

/** Who holds the camera, until when by the server's clock; whoever does may let others have it at once. */
function Holder({ camera, lock, locked, onChange }: HolderProps) {
  const { t, locale } = useTexts()
  if (!lock) return <p class="fine ptz-holder">{t('ptz.free')}</p>
  const time = formatMoment(Date.parse(lock.until), Date.now(), locale)
  const release = () => void api.releasePtz(camera).catch(() => undefined).then(onChange)
  return (
    <div class={locked ? 'ptz-holder ptz-locked' : 'ptz-holder'} role="status" data-testid="ptz-holder">
      <p class="fine">{locked ? t('ptz.heldBy', { username: lock.username, time }) : t('ptz.heldByMe', { time })}</p>
      {!locked && (
        <button type="button" class="button button-small" data-testid="ptz-release" onClick={release}>
          {t('ptz.release')}
        </button>
      )}
    </div>
  )
}
