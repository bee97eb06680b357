export interface Grid {
  columns: number
  tilePx: number
}

/** How `count` tiles of 16:9 fill an area best, each at least `leastPx` wide (then the area scrolls). Pure. */
export function fitGrid(count: number, width: number, height: number, gapPx: number, leastPx: number): Grid {
  const most = Math.max(1, Math.floor((width + gapPx) / (leastPx + gapPx)))
  // one column is scrolled anyhow: its tiles take the whole width
  if (most === 1) return { columns: 1, tilePx: Math.floor(width) }
  let best = 1
  let bestWidth = 0
  for (let columns = 1; columns <= Math.min(most, Math.max(1, count)); columns += 1) {
    const tile = tileWidth(count, columns, width, height, gapPx)
    if (tile > bestWidth + 0.5) {
      best = columns
      bestWidth = tile
    }
  }
  // tiles that would be too small to read are better scrolled than shrunk
  if (bestWidth >= leastPx) return { columns: best, tilePx: Math.floor(bestWidth) }
  return { columns: most, tilePx: Math.floor((width - gapPx * (most - 1)) / most) }
}

function tileWidth(count: number, columns: number, width: number, height: number, gapPx: number): number {
  const rows = Math.ceil(count / columns)
  const byWidth = (width - gapPx * (columns - 1)) / columns
  const byHeight = ((height - gapPx * (rows - 1)) / rows) * (16 / 9)
  return Math.min(byWidth, byHeight)
}
