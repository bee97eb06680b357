/** Cameras as the person who looks after them sees them: state, reason, what was picked and why; add, edit, remove. */
import { useState } from 'preact/hooks'
import { api } from '../api'
import { cameraState, RecordingBadge, recordingReason, StateBadge, StreamReason } from '../components/badges'
import { ConfirmDialog } from '../components/dialog'
import { Empty, PollNotice } from '../components/feedback'
import { Icon } from '../components/icon'
import { Explanation, FailedServices, PickedStreams, Warnings } from '../components/profile'
import { RetentionDialog } from '../components/retention-dialog'
import { Table } from '../components/table'
import { useTexts } from '../i18n'
import { usePolled } from '../poller'
import { href } from '../router'
import { cameras } from '../stores'
import { leadingStream } from '../streams'
import type { Camera } from '../types'
import { AddCamera } from './add-camera'
import { EditCamera } from './edit-camera'

type Open = { kind: 'add' } | { kind: 'edit'; camera: Camera } | { kind: 'remove' | 'retention'; camera: Camera } | null

export function CamerasPage() {
  const { t } = useTexts()
  const { value } = usePolled(cameras)
  const [open, setOpen] = useState<Open>(null)
  const close = () => {
    setOpen(null)
    cameras.refresh()
  }
  return (
    <div class="page">
      <div class="page-head">
        <h1>{t('cameras.title')}</h1>
        <div class="button-group">
          <a class="button" href={href.survey} data-testid="survey">
            <Icon name="list" />
            {t('cameras.survey')}
          </a>
          <button
            type="button"
            class="button button-primary"
            data-testid="add-camera"
            onClick={() => setOpen({ kind: 'add' })}
          >
            <Icon name="plus" />
            {t('cameras.add')}
          </button>
        </div>
      </div>
      <PollNotice poller={cameras} />
      {value?.length === 0 && <Empty title={t('cameras.empty')} />}
      {value && value.length > 0 && <CameraTable list={value} onOpen={setOpen} />}
      {open?.kind === 'add' && <AddCamera onClose={close} />}
      {open?.kind === 'edit' && <EditCamera camera={open.camera} onClose={close} />}
      {open?.kind === 'retention' && (
        <RetentionDialog of={{ kind: 'camera', id: open.camera.id }} name={open.camera.name} onClose={close} />
      )}
      {open?.kind === 'remove' && <RemoveCamera camera={open.camera} onClose={close} />}
    </div>
  )
}

function CameraTable({ list, onOpen }: { list: Camera[]; onOpen: (open: Open) => void }) {
  const { t } = useTexts()
  return (
    <Table
      label={t('cameras.title')}
      testId="cameras"
      columns={[
        { title: t('cameras.name'), class: 'col-name' },
        { title: t('cameras.state'), class: 'col-state' },
        { title: t('cameras.recording'), class: 'col-recording' },
        { title: t('cameras.picked') },
        { title: t('cameras.actions'), hidden: true },
      ]}
    >
      {list.map((camera) => (
        <CameraRow key={camera.id} camera={camera} onOpen={onOpen} />
      ))}
    </Table>
  )
}

function CameraRow({ camera, onOpen }: { camera: Camera; onOpen: (open: Open) => void }) {
  const { t, sentence } = useTexts()
  const stream = leadingStream(camera)
  const why = recordingReason(stream)
  const manages = camera.permissions.includes('camera.manage')
  return (
    <tr data-camera={camera.id}>
      <td>
        <a class="row-title" href={href.camera(camera.id)}>
          {camera.name}
        </a>
        <div class="fine">
          <code class="code">{camera.id}</code> {camera.address}
        </div>
        <div class="fine">
          {camera.place}
          {camera.origin === 'file' && ` · ${t('cameras.fromFile')}`}
        </div>
      </td>
      <td>
        <StateBadge state={cameraState(camera)} />
        <div class="fine">
          <StreamReason stream={stream} />
        </div>
      </td>
      <td>
        <RecordingBadge recording={stream.recording} />
        {camera.recording.mode !== 'continuous' && camera.recording.mode !== 'off' && (
          <div class="fine">{t(`plan.${camera.recording.mode}`)}</div>
        )}
        {camera.recording.mode !== 'off' && camera.record_stream !== 'main' && (
          <div class="fine">{t(`streams.${camera.record_stream}`)}</div>
        )}
        {why && <div class="fine">{sentence(why)}</div>}
      </td>
      <td>
        <Picked camera={camera} />
      </td>
      <td>
        {manages && (
          <div class="row-actions">
            <button
              type="button"
              class="button"
              data-testid="edit"
              aria-label={`${t('cameras.edit')}: ${camera.name}`}
              onClick={() => onOpen({ kind: 'edit', camera })}
            >
              <Icon name="edit" />
              <span>{t('cameras.edit')}</span>
            </button>
            <button
              type="button"
              class="button button-icon"
              data-testid="retention"
              title={t('retention.title')}
              aria-label={`${t('retention.title')}: ${camera.name}`}
              onClick={() => onOpen({ kind: 'retention', camera })}
            >
              <Icon name="lock" />
            </button>
            <button
              type="button"
              class="button button-icon button-danger-quiet"
              data-testid="remove"
              title={t(camera.origin === 'file' ? 'cameras.fromFile' : 'cameras.remove')}
              disabled={camera.origin === 'file'}
              aria-label={`${t('cameras.remove')}: ${camera.name}`}
              onClick={() => onOpen({ kind: 'remove', camera })}
            >
              <Icon name="trash" />
            </button>
          </div>
        )}
      </td>
    </tr>
  )
}

function Picked({ camera }: { camera: Camera }) {
  const { t } = useTexts()
  const profile = camera.profile
  if (!profile) return <span class="fine">{t('cameras.notProbed')}</span>
  return (
    <>
      <PickedStreams profile={profile} />
      <Warnings camera={camera} />
      <FailedServices camera={camera} />
      <details class="why">
        <summary>{t('cameras.why')}</summary>
        <Explanation profile={profile} />
      </details>
    </>
  )
}

function RemoveCamera({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const { t } = useTexts()
  return (
    <ConfirmDialog
      name="remove"
      title={t('remove.title', { name: camera.name })}
      confirm={t('remove.confirm')}
      action={() => api.removeCamera(camera.id)}
      onClose={onClose}
    >
      {t('remove.body')}
    </ConfirmDialog>
  )
}
