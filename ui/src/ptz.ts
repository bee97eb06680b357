/** Moving a camera: which way a key or a button means, and which command does it (docs/api.md, Moving cameras). Pure. */
import type { PtzCommand, PtzMoves } from './types'

/** A wish: right, up and closer are 1. */
export interface Direction {
  pan: number
  tilt: number
  zoom: number
}

export const SPEEDS = { slow: 0.2, medium: 0.5, fast: 1 } as const
export type Speed = keyof typeof SPEEDS

/** A step of a camera that moves by steps only: this share of the way there is, at full speed. */
const STEP = 0.1

const KEYS: Readonly<Record<string, Partial<Direction>>> = {
  ArrowLeft: { pan: -1 },
  ArrowRight: { pan: 1 },
  ArrowUp: { tilt: 1 },
  ArrowDown: { tilt: -1 },
  '+': { zoom: 1 },
  '=': { zoom: 1 },
  '-': { zoom: -1 },
  _: { zoom: -1 },
}

export const isPtzKey = (key: string): boolean => Object.hasOwn(KEYS, key)

/** Where the keys that are held lead together: two make a diagonal, opposite ones nothing. */
export function directionOfKeys(held: Iterable<string>): Direction {
  const sum: Direction = { pan: 0, tilt: 0, zoom: 0 }
  for (const key of held) {
    const one = KEYS[key] ?? {}
    sum.pan += one.pan ?? 0
    sum.tilt += one.tilt ?? 0
    sum.zoom += one.zoom ?? 0
  }
  return { pan: Math.sign(sum.pan), tilt: Math.sign(sum.tilt), zoom: Math.sign(sum.zoom) }
}

/** Whether the camera can be turned, and whether it can zoom, by what a person holds down. */
export function handles(moves: PtzMoves): { turns: boolean; zooms: boolean } {
  const can = (axis: 'pan_tilt' | 'zoom') => !!(moves.continuous?.[axis] || moves.relative?.[axis])
  return { turns: can('pan_tilt'), zooms: can('zoom') }
}

/**
 * The command for a direction, or null where the camera cannot go there. A continuous one names each axis that the
 * camera has: one that is left out would go on as before.
 */
export function moveCommand(moves: PtzMoves, to: Direction, speed: Speed): PtzCommand | null {
  const wants = { pan_tilt: to.pan !== 0 || to.tilt !== 0, zoom: to.zoom !== 0 }
  const share = SPEEDS[speed]
  for (const move of ['continuous', 'relative'] as const) {
    const axes = moves[move]
    if (!axes || !((axes.pan_tilt && wants.pan_tilt) || (axes.zoom && wants.zoom))) continue
    const scale = move === 'continuous' ? share : share * STEP
    const every = move === 'continuous'
    return {
      move,
      ...(axes.pan_tilt && (every || wants.pan_tilt) ? { pan: to.pan * scale, tilt: to.tilt * scale } : {}),
      ...(axes.zoom && (every || wants.zoom) ? { zoom: to.zoom * scale } : {}),
    }
  }
  return null
}
