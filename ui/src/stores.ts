/** What several pages watch. */
import { api } from './api'
import { Poller } from './poller'
import type { Camera, Facts } from './types'

export const cameras = new Poller<Camera[]>((signal) => api.cameras(signal), 3000)
export const status = new Poller<Facts>((signal) => api.status(signal), 3000)

/** Called when an account leaves. */
export function forgetEverything(): void {
  cameras.reset()
  status.reset()
}
