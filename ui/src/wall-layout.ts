/** How many tiles a page of the wall has, and which cameras are on it. */
import { useState } from 'preact/hooks'
import { readStored, store } from './stored'

/** `auto`: as many as there are cameras, and no more than a window can show. */
export const LAYOUTS = ['auto', 4, 9, 16, 36] as const
export type Layout = (typeof LAYOUTS)[number]

const STORAGE_KEY = 'mediasrv.wall.layout'
const MOST_TILES = 36

export const tilesOf = (layout: Layout): number => (layout === 'auto' ? MOST_TILES : layout)

/** A layout as it was stored; `auto` for anything else. Pure. */
export function parseLayout(stored: string | null): Layout {
  return LAYOUTS.find((layout) => String(layout) === stored) ?? 'auto'
}

export interface WallPageOf<T> {
  shown: T[]
  /** From 0; the last one where there are fewer than was asked for. */
  page: number
  pages: number
}

/** Page `wished` of a list. Pure. */
export function pageOf<T>(list: readonly T[], layout: Layout, wished: number): WallPageOf<T> {
  const size = tilesOf(layout)
  const pages = Math.max(1, Math.ceil(list.length / size))
  const page = Math.min(Math.max(0, wished), pages - 1)
  return { shown: list.slice(page * size, (page + 1) * size), page, pages }
}

/** The layout of this browser, remembered. */
export function useLayout(): [Layout, (layout: Layout) => void] {
  const [layout, setLayout] = useState<Layout>(() => parseLayout(readStored(STORAGE_KEY)))
  const choose = (chosen: Layout) => {
    store(STORAGE_KEY, String(chosen))
    setLayout(chosen)
  }
  return [layout, choose]
}
