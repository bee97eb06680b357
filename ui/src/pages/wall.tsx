/** All cameras the account may see, live. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { cameraState } from '../components/badges'
import { Empty, Notice, PollNotice } from '../components/feedback'
import { Icon } from '../components/icon'
import { IconButton } from '../components/icon-button'
import { Segmented } from '../components/segmented'
import { Tile } from '../components/tile'
import { formatDateTime } from '../format'
import { fitGrid } from '../grid'
import { useTexts } from '../i18n'
import { usePageSeen } from '../in-view'
import { usePolled } from '../poller'
import { href } from '../router'
import { may, useSession } from '../session'
import { cameras } from '../stores'
import { leadingStream, recordedStreams } from '../streams'
import type { Camera } from '../types'
import { type Layout, LAYOUTS, pageOf, tilesOf, useLayout } from '../wall-layout'
import { prepareJoins } from '../whep'

const GAP_PX = 8
const LEAST_TILE_PX = 240
/** Whoever has chosen how many tiles there are wants them on one screen. */
const LEAST_CHOSEN_PX = 150
/** After the tiles have had their turn. */
const PREPARE_MS = 500

export function WallPage() {
  const { t } = useTexts()
  usePreparedJoin()
  const { value, error } = usePolled(cameras)
  const [search, setSearch] = useState('')
  const [onlyProblems, setOnlyProblems] = useState(false)
  const [layout, setLayout] = useLayout()
  const [wishedPage, setPage] = useState(0)
  if (value === null) return <PollNotice poller={cameras} />
  if (value.length === 0) return <EmptyWall />
  const found = value.filter((camera) => matches(camera, search) && (!onlyProblems || hasProblem(camera)))
  const { shown, page, pages } = pageOf(found, layout, wishedPage)
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
          <Segmented
            label={t('wall.filter')}
            chosen={onlyProblems}
            choices={[
              { value: false, text: t('wall.all') },
              { value: true, text: t('wall.problems') },
            ]}
            onChoose={setOnlyProblems}
          />
          <LayoutChoice layout={layout} onLayout={setLayout} />
          {pages > 1 && <Pager page={page} pages={pages} onPage={setPage} />}
        </div>
      </div>
      {error !== null && <Notice kind="warn">{t('app.offline')}</Notice>}
      {shown.length === 0 ? <Empty title={t('wall.noMatch')} /> : <Grid list={shown} layout={layout} />}
    </div>
  )
}

function LayoutChoice({ layout, onLayout }: { layout: Layout; onLayout: (layout: Layout) => void }) {
  const { t } = useTexts()
  return (
    <label class="layout-choice">
      <span class="sr-only">{t('wall.layout')}</span>
      <select
        value={String(layout)}
        title={t('wall.layout')}
        data-testid="layout"
        onChange={({ currentTarget }) => onLayout(LAYOUTS[currentTarget.selectedIndex] ?? 'auto')}
      >
        {LAYOUTS.map((choice) => (
          <option key={choice} value={String(choice)}>
            {choice === 'auto' ? t('wall.layoutAuto') : t('wall.layoutTiles', { count: choice })}
          </option>
        ))}
      </select>
    </label>
  )
}

function Pager({ page, pages, onPage }: { page: number; pages: number; onPage: (page: number) => void }) {
  const { t } = useTexts()
  return (
    <div class="button-group" role="group" aria-label={t('wall.pages')}>
      <IconButton
        icon="left"
        label={t('wall.pageBefore')}
        testId="page-before"
        disabled={page === 0}
        onClick={() => onPage(page - 1)}
      />
      <span class="pager-now" role="status" data-testid="page">
        {t('wall.page', { page: page + 1, pages })}
      </span>
      <IconButton
        icon="right"
        label={t('wall.pageNext')}
        testId="page-next"
        disabled={page === pages - 1}
        onClick={() => onPage(page + 1)}
      />
    </div>
  )
}

/** What most likely comes next is a click on a tile. */
function usePreparedJoin(): void {
  const { locale } = useTexts()
  useEffect(() => {
    const timer = setTimeout(() => {
      prepareJoins()
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
function Grid({ list, layout }: { list: Camera[]; layout: Layout }) {
  const grid = useRef<HTMLUListElement>(null)
  const isSeen = usePageSeen()
  const [enlarged, setEnlarged] = useEnlarged(list)
  const count = layout === 'auto' ? list.length : tilesOf(layout)
  const leastPx = layout === 'auto' ? LEAST_TILE_PX : LEAST_CHOSEN_PX
  useLayoutEffect(() => {
    const element = grid.current
    if (!element) return undefined
    const fit = () => {
      const height = innerHeight - element.getBoundingClientRect().top - scrollY - 2 * GAP_PX
      const { columns, tilePx } = fitGrid(count, element.clientWidth, height, GAP_PX, leastPx)
      element.style.setProperty('--columns', String(columns))
      element.style.setProperty('--tile', `${tilePx}px`)
      element.classList.toggle('grid-small', tilePx < LEAST_TILE_PX)
    }
    const observer = new ResizeObserver(fit)
    observer.observe(document.documentElement)
    fit()
    return () => observer.disconnect()
  }, [count, leastPx])
  return (
    <ul class="grid" ref={grid}>
      {list.map((camera) => (
        <Tile
          key={camera.id}
          camera={camera}
          isEnlarged={camera.id === enlarged}
          isCovered={enlarged !== null && camera.id !== enlarged}
          isSeen={isSeen}
          onEnlarge={() => setEnlarged(camera.id)}
          onReturn={() => setEnlarged(null)}
        />
      ))}
    </ul>
  )
}

/** Which camera is enlarged. Escape returns to the wall; the arrows go on to the next one. */
function useEnlarged(list: Camera[]): [string | null, (id: string | null) => void] {
  const [wished, setEnlarged] = useState<string | null>(null)
  const at = list.findIndex((camera) => camera.id === wished)
  useEffect(() => {
    if (at < 0) return undefined
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1 }
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
      if (event.key === 'Escape') return setEnlarged(null)
      const next = list[at + (steps[event.key] ?? 0)]
      if (!next || next.id === wished) return
      event.preventDefault()
      setEnlarged(next.id)
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [list, wished])
  return [at < 0 ? null : wished, setEnlarged]
}
