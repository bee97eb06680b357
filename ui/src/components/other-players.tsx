/** Addresses of one camera for what plays elsewhere: a link to the player alone, HLS for whatever plays that. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { formatDuration } from '../format'
import { useTexts } from '../i18n'
import { href } from '../router'
import { useSubmit } from '../submit'
import type { HlsToken } from '../types'
import { watchUrl } from '../watch-options'
import { CopyField } from './copy-field'
import { Dialog } from './dialog'
import { Notice } from './feedback'
import { Icon } from './icon'

export function OtherPlayers({ camera }: { camera: string }) {
  const { t } = useTexts()
  const [isOpen, setOpen] = useState(false)
  return (
    <>
      <button
        type="button"
        class="button camera-head-end"
        title={t('players.title')}
        aria-label={t('players.title')}
        data-testid="other-players"
        onClick={() => setOpen(true)}
      >
        <Icon name="plug" />
        <span>{t('players.title')}</span>
      </button>
      {isOpen && (
        <Dialog title={t('players.title')} onClose={() => setOpen(false)} testId="players-dialog">
          <CopyField label={t('players.watch')} name="watch" value={watchUrl(location.origin, camera)} />
          <HlsAddress camera={camera} />
          <a class="fine" href={href.otherSystems}>
            {t('players.rtsp')}
          </a>
        </Dialog>
      )}
    </>
  )
}

/** Made when it is asked for: whoever has it needs no login. */
function HlsAddress({ camera }: { camera: string }) {
  const { t, locale, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  const [token, setToken] = useState<HlsToken | null>(null)
  if (token) {
    const idle = formatDuration(token.idle_s, locale)
    const most = formatDuration(token.most_s, locale)
    return (
      <>
        <CopyField label={t('players.hls')} name="hls" value={token.url} />
        <p class="fine">{t('players.hlsHint', { idle, most })}</p>
      </>
    )
  }
  return (
    <>
      {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
      <button
        type="button"
        class="button button-start"
        data-testid="make-hls"
        disabled={busy}
        onClick={() => submit(() => api.makeHlsToken(camera).then(setToken))}
      >
        {t('players.makeHls')}
      </button>
    </>
  )
}
