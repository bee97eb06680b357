/** What was read from a camera, which of its media profiles were picked, and why. */
import { codecTitle } from '../format'
import { useTexts } from '../i18n'
import type { Camera, MediaProfile, Profile } from '../types'

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

/** What is unwise about a camera that works: its password, its clock. */
export function Warnings({ camera }: { camera: Camera }) {
  const { sentence } = useTexts()
  const clock = camera.device?.clock
  const found = [...(camera.profile?.warnings ?? []), ...(clock?.state === 'alarm' && clock.reason ? [clock.reason] : [])]
  return (
    <>
      {found.map((reason) => (
        <p class="fine" key={reason.code} data-testid="warning">
          {sentence(reason)} <code class="code">{reason.code}</code>
        </p>
      ))}
    </>
  )
}
