/** Where a camera can be sent, and keeping where it looks now. */
import { useCallback, useEffect, useState } from 'preact/hooks'
import { api } from '../api'
import { useTexts } from '../i18n'
import { useSubmit } from '../submit'
import type { PtzPreset } from '../types'
import { Dialog, DialogActions } from './dialog'
import { Notice } from './feedback'
import { Field } from './fields'

const NAME_LENGTH = 64

interface PtzPresetsProps {
  camera: string
  disabled: boolean
  onChange: () => void
}

export function PtzPresets({ camera, disabled, onChange }: PtzPresetsProps) {
  const { t, explain } = useTexts()
  const { presets, error, again } = usePresets(camera)
  const [wanted, setWanted] = useState('')
  const [failed, setFailed] = useState<unknown>(null)
  const [keeping, setKeeping] = useState(false)
  const chosen = presets.find((one) => one.preset === wanted)?.preset ?? presets[0]?.preset ?? ''
  const go = () => {
    setFailed(null)
    api.movePtz(camera, { move: 'preset', preset: chosen }).catch(setFailed).finally(onChange)
  }
  const kept = (preset: string) => {
    setKeeping(false)
    setWanted(preset)
    again()
    onChange()
  }
  return (
    <>
      <div class="ptz-presets">
        {presets.length > 0 && (
          <>
            <label class="ptz-preset">
              <span class="sr-only">{t('ptz.preset')}</span>
              <select
                value={chosen}
                data-testid="ptz-preset"
                onChange={(event) => setWanted(event.currentTarget.value)}
              >
                {presets.map((one) => (
                  <option key={one.preset} value={one.preset}>
                    {one.name || one.preset}
                  </option>
                ))}
              </select>
            </label>
            <button type="button" class="button" disabled={disabled} data-testid="ptz-go" onClick={go}>
              {t('ptz.go')}
            </button>
          </>
        )}
        <button
          type="button"
          class="button"
          disabled={disabled}
          data-testid="ptz-keep"
          onClick={() => setKeeping(true)}
        >
          {t('ptz.keep')}
        </button>
      </div>
      {(failed ?? error) !== null && <Notice kind="bad">{explain(failed ?? error)}</Notice>}
      {keeping && <KeepPreset camera={camera} presets={presets} onClose={() => setKeeping(false)} onKept={kept} />}
    </>
  )
}

function usePresets(camera: string) {
  const [state, setState] = useState<{ presets: PtzPreset[]; error: unknown }>({ presets: [], error: null })
  const [round, setRound] = useState(0)
  useEffect(() => {
    const stop = new AbortController()
    api.ptzPresets(camera, stop.signal).then(
      (presets) => setState({ presets, error: null }),
      (error: unknown) => stop.signal.aborted || setState((before) => ({ ...before, error })),
    )
    return () => stop.abort()
  }, [camera, round])
  return { ...state, again: useCallback(() => setRound((before) => before + 1), []) }
}

interface KeepPresetProps {
  camera: string
  presets: PtzPreset[]
  onClose: () => void
  onKept: (preset: string) => void
}

/** Under a new name, or in place of a preset that there is. */
function KeepPreset({ camera, presets, onClose, onKept }: KeepPresetProps) {
  const { t, explain } = useTexts()
  const { busy, error, submit } = useSubmit()
  const [replaced, setReplaced] = useState('')
  const [name, setName] = useState('')
  const choose = (preset: string) => {
    setReplaced(preset)
    setName(presets.find((one) => one.preset === preset)?.name ?? '')
  }
  const keep = () =>
    submit(() => api.keepPtzPreset(camera, name.trim(), replaced || null).then(({ preset }) => onKept(preset)))
  return (
    <Dialog title={t('ptz.keepTitle')} onClose={onClose} testId="ptz-keep-dialog">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          if (name.trim()) keep()
        }}
      >
        {presets.length > 0 && (
          <div class="field">
            <label for="ptz-replaced">{t('ptz.keepAs')}</label>
            <select id="ptz-replaced" value={replaced} onChange={(event) => choose(event.currentTarget.value)}>
              <option value="">{t('ptz.keepNew')}</option>
              {presets.map((one) => (
                <option key={one.preset} value={one.preset}>
                  {t('ptz.keepReplace', { name: one.name || one.preset })}
                </option>
              ))}
            </select>
          </div>
        )}
        <Field
          label={t('ptz.presetName')}
          name="preset_name"
          value={name}
          onInput={(text) => setName(text.slice(0, NAME_LENGTH))}
          required
          autoFocus
        />
        {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
        <DialogActions
          submit={t('app.save')}
          testId="ptz-keep-confirm"
          disabled={busy}
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}
