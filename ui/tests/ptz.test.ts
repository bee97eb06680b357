import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { directionOfKeys, handles, isPtzKey, moveCommand } from '../src/ptz'
import { PtzMover } from '../src/ptz-mover'
import type { PtzCommand } from '../src/types'

const BOTH = { pan_tilt: true, zoom: true }
const RIGHT = { pan: 1, tilt: 0, zoom: 0 }

test('keys that are held together make a diagonal, opposite ones nothing', () => {
  assert.deepEqual(directionOfKeys(['ArrowLeft', 'ArrowUp', '+']), { pan: -1, tilt: 1, zoom: 1 })
  assert.deepEqual(directionOfKeys(['ArrowLeft', 'ArrowRight']), { pan: 0, tilt: 0, zoom: 0 })
  assert.deepEqual(directionOfKeys(['=', '+']), { pan: 0, tilt: 0, zoom: 1 })
  assert.deepEqual(['ArrowDown', '-', '_', 'a', 'toString'].map(isPtzKey), [true, true, true, false, false])
})

test('a continuous move names every axis, so that one that was let go stops', () => {
  assert.deepEqual(moveCommand({ continuous: BOTH }, { pan: 0, tilt: 0, zoom: 1 }, 'medium'), {
    move: 'continuous',
    pan: 0,
    tilt: 0,
    zoom: 0.5,
  })
  assert.deepEqual(moveCommand({ continuous: BOTH }, RIGHT, 'slow'), { move: 'continuous', pan: 0.2, tilt: 0, zoom: 0 })
  assert.deepEqual(moveCommand({ continuous: { pan_tilt: true, zoom: false } }, RIGHT, 'fast'), {
    move: 'continuous',
    pan: 1,
    tilt: 0,
  })
})

test('a camera that cannot glide makes steps, and names only what is meant', () => {
  const moves = { continuous: { pan_tilt: true, zoom: false }, relative: BOTH }
  assert.equal(moveCommand(moves, RIGHT, 'slow')?.move, 'continuous')
  assert.deepEqual(moveCommand(moves, { pan: 0, tilt: 0, zoom: -1 }, 'fast'), { move: 'relative', zoom: -0.1 })
})

test('what a camera cannot do is no command and no handle', () => {
  assert.equal(moveCommand({ absolute: BOTH }, RIGHT, 'fast'), null)
  assert.equal(moveCommand({ continuous: { pan_tilt: false, zoom: true } }, RIGHT, 'fast'), null)
  assert.equal(moveCommand({ continuous: BOTH }, { pan: 0, tilt: 0, zoom: 0 }, 'fast'), null)
  assert.deepEqual(handles({ absolute: BOTH }), { turns: false, zooms: false })
  assert.deepEqual(handles({ continuous: { pan_tilt: false, zoom: true }, relative: { pan_tilt: true, zoom: false } }), {
    turns: true,
    zooms: true,
  })
})

const GO: PtzCommand = { move: 'continuous', pan: 1, tilt: 0 }
const BACK: PtzCommand = { move: 'continuous', pan: -1, tilt: 0 }
const STEP: PtzCommand = { move: 'relative', zoom: 0.1 }

/** A mover whose commands are answered by hand, in order. */
function rig() {
  const sent: PtzCommand[] = []
  const waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []
  const errors: unknown[] = []
  const moving: (PtzCommand | null)[] = []
  let turns = 0
  const mover = new PtzMover({
    send: (command) => {
      sent.push(command)
      return new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }))
    },
    repeatMs: 500,
    onMove: (command) => moving.push(command),
    onError: (error) => errors.push(error),
    onTurn: () => (turns += 1),
  })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return {
    mover,
    sent,
    errors,
    moving,
    turns: () => turns,
    moves: () => sent.map((command) => ('pan' in command ? command.pan : command.move)),
    answer: async () => {
      waiting.shift()?.resolve()
      await settle()
    },
    fail: async (error: unknown) => {
      waiting.shift()?.reject(error)
      await settle()
    },
    tick: async (ms: number) => {
      mock.timers.tick(ms)
      await settle()
    },
  }
}

function timed(name: string, body: () => Promise<void>) {
  test(name, async () => {
    mock.timers.enable({ apis: ['setTimeout'] })
    try {
      await body()
    } finally {
      mock.timers.reset()
    }
  })
}

timed('a move is repeated while it is held, one command at a time, and stopped when it is let go', async () => {
  const { mover, answer, tick, moves, turns } = rig()
  mover.hold('pointer 1', GO)
  await tick(5000)
  assert.deepEqual(moves(), [1], 'nothing is sent while the camera has not answered')
  await answer()
  await tick(499)
  assert.deepEqual(moves(), [1])
  await tick(1)
  assert.deepEqual(moves(), [1, 1])
  await answer()
  mover.release('pointer 1')
  await tick(0)
  assert.deepEqual(moves(), [1, 1, 'stop'])
  await answer()
  await tick(60_000)
  assert.deepEqual(moves(), [1, 1, 'stop'])
  assert.equal(turns(), 1)
})

timed('a move that is on its way when it is let go is followed by a second stop', async () => {
  const { mover, answer, tick, moves } = rig()
  mover.hold('pointer 1', GO)
  mover.release('pointer 1')
  await tick(0)
  assert.deepEqual(moves(), [1, 'stop'], 'the stop does not wait')
  await answer()
  assert.deepEqual(moves(), [1, 'stop', 'stop'])
})

timed('only the hand that holds lets go', async () => {
  const { mover, answer, tick, moves } = rig()
  mover.hold('pointer 1', GO)
  await answer()
  mover.hold('keys', BACK)
  await tick(0)
  assert.deepEqual(moves(), [1, -1], 'another direction is sent at once')
  await answer()
  mover.release('pointer 1')
  await tick(500)
  assert.deepEqual(moves(), [1, -1, -1])
  await answer()
  mover.release()
  await tick(0)
  assert.deepEqual(moves(), [1, -1, -1, 'stop'])
})

timed('a press during the stop moves once the stop is answered', async () => {
  const { mover, answer, tick, moves } = rig()
  mover.hold('pointer 1', GO)
  await answer()
  mover.release()
  await tick(0)
  mover.hold('pointer 2', BACK)
  await tick(0)
  assert.deepEqual(moves(), [1, 'stop'])
  await answer()
  assert.deepEqual(moves(), [1, 'stop', -1])
})

timed('the first command that fails ends the movement, is told once, and the camera is told to stop', async () => {
  const { mover, answer, fail, tick, moves, errors, moving, turns } = rig()
  mover.hold('pointer 1', GO)
  await answer()
  await tick(500)
  await fail('away')
  assert.deepEqual([moves(), errors, moving], [[1, 1, 'stop'], ['away'], [GO, null]])
  await fail('away too')
  await tick(60_000)
  assert.deepEqual([moves(), errors, turns()], [[1, 1, 'stop'], ['away'], 1])
  mover.release('pointer 1')
  assert.equal(moves().length, 3)
})

timed('a stop that fails is told', async () => {
  const { mover, answer, fail, tick, errors } = rig()
  mover.hold('pointer 1', GO)
  await answer()
  mover.release()
  await tick(0)
  await fail('away')
  assert.deepEqual(errors, ['away'])
})

timed('steps are repeated, and not cut short by a stop', async () => {
  const { mover, answer, tick, sent } = rig()
  mover.hold('keys', STEP)
  mover.release('keys')
  await answer()
  await tick(60_000)
  assert.deepEqual(sent, [STEP])
})
