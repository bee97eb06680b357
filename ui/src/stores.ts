/** What several pages watch. */
import { api } from './api'
import { Poller } from './poller'
import { followCameras, forgetStates } from './states'
import type { Camera, Export, Facts, RtspLogins } from './types'

export const cameras = new Poller<Camera[]>((signal) => api.cameras(signal), 3000, followCameras)
export const status = new Poller<Facts>((signal) => api.status(signal), 3000)
export const rtspLogins = new Poller<RtspLogins>((signal) => api.rtspLogins(signal), 10_000)
export const exportsMade = new Poller<Export[]>((signal) => api.exports(signal), 1500)

/** Called when an account leaves. */
export function forgetEverything(): void {
  forgetStates()
  cameras.reset()
  status.reset()
  rtspLogins.reset()
  exportsMade.reset()
}
