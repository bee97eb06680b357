/** What was read from a camera, which of its media profiles were picked, and why. */
import { codecTitle } from '../format'
import { knownKey, type Translator, useTexts } from '../i18n'
import type { Camera, MediaProfile, Profile, Reason } from '../types'

/** The picked streams, a line each. */
export function PickedStreams({ profile }: { profile: Profile }) {
  const { t } = useTexts()
  return (
    <>
      <StreamLine label={t('cameras.main')} stream={profile.main} />
      {profile.sub && <StreamLine label={t('cameras.sub')} stream={profile.sub} />}
    </>
  )
}

function StreamLine({ label, stream }: { label: string; stream: MediaProfile }) {
  const parts = [
    stream.width > 0 ? `${stream.width} × ${stream.height}` : null,
    codecTitle(stream.codec),
    stream.rate > 0 ? `${Math.round(stream.rate)}/s` : null,
    stream.bitrate_kbps > 0 ? `${stream.bitrate_kbps} kbit/s` : null,
    stream.audio && codecTitle(stream.audio),
  ]
  return (
    <div class="pick">
      <span class="pick-label">{label}</span>
      <span title={stream.name || undefined}>{parts.filter(Boolean).join(' · ') || stream.url}</span>
    </div>
  )
}

/** Why these streams, in the language of the page. */
export function Explanation({ profile }: { profile: Profile }) {
  const { language } = useTexts()
  return <p class="fine">{(language === 'vi' && profile.explanation_vi) || profile.explanation}</p>
}

/** What is unwise about a camera that works: its clock, and for whoever can mend it its password. */
export function Warnings({ camera }: { camera: Camera }) {
  const { sentence } = useTexts()
  const clock = camera.device?.clock
  const password = camera.profile?.warnings ?? []
  const found = [...password, ...(clock?.state === 'alarm' && clock.reason ? [clock.reason] : [])]
  return (
    <>
      {found.map((reason) => (
        <p class="fine warning" key={reason.code} data-testid="warning">
          {sentence(reason)} <code class="code">{reason.code}</code>
        </p>
      ))}
    </>
  )
}

/** Services that fail while another works; where none does the stream says so already. */
export function FailedServices({ camera }: { camera: Camera }) {
  const { t, sentence } = useTexts()
  const all = Object.entries(camera.device?.services ?? {})
  const works = all.some(([, { state }]) => state === 'ok' || state === 'offered')
  return (
    <>
      {all
        .filter(([, { state }]) => works && state === 'failed')
        .map(([name, { reason }]) => (
          <p class="fine warning" key={name}>
            {serviceName(name, t)}: {reason && sentence(reason)} {reason && <code class="code">{reason.code}</code>}
          </p>
        ))}
    </>
  )
}

const SERVICES = ['device', 'media', 'media2', 'events', 'ptz']

function serviceName(service: string, t: Translator['t']): string {
  const key = knownKey(`service.${service}`)
  return key ? t(key) : service
}

/** Why a service of the camera is of no use: it fails, or the camera has none. Null where all is well, or not known. */
export function serviceReason(camera: Camera, service: string): Reason | null {
  const found = camera.device?.services[service]
  return found && (found.state === 'failed' || found.state === 'missing') ? found.reason : null
}

/** What the camera offers over ONVIF, and how each service does. */
export function Services({ camera }: { camera: Camera }) {
  const { t, sentence } = useTexts()
  const services = camera.device?.services
  if (!services) return null
  const names = [...SERVICES, ...Object.keys(services).filter((name) => !SERVICES.includes(name))]
  return (
    <ul class="services" data-testid="services">
      {names.map((name) => {
        const { state, reason } = services[name] ?? { state: 'unknown', reason: null }
        const word = knownKey(`service.state.${state}`)
        return (
          <li key={name} data-service={name} data-state={state}>
            <span class="service-name">{serviceName(name, t)}</span>
            <span class={`badge service-${state}`}>
              <span class="badge-dot" aria-hidden="true" />
              {word ? t(word) : state}
            </span>
            {reason && state === 'failed' && (
              <span class="fine">
                {sentence(reason)} <code class="code">{reason.code}</code>
              </span>
            )}
          </li>
        )
      })}
    </ul>
  )
}
