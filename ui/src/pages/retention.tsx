/** What is kept for how long: policies of places, holds, and receipts of what was destroyed. */
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { api, receiptUrl } from '../api'
import { Dialog, DialogActions } from '../components/dialog'
import { Empty, Loading, Notice } from '../components/feedback'
import { Field } from '../components/fields'
import { Icon } from '../components/icon'
import { RetentionDialog } from '../components/retention-dialog'
import { Segmented } from '../components/segmented'
import { Table } from '../components/table'
import { formatBytes, formatDateTime, formatNumber } from '../format'
import { type Translator, useTexts } from '../i18n'
import { word } from '../log-text'
import { href } from '../router'
import { may, useSession } from '../session'
import { useSubmit } from '../submit'
import type { Hold, Place, Receipt } from '../types'

const TABS = [
  { tab: 'places', permission: 'camera.manage' },
  { tab: 'holds', permission: 'hold.manage' },
  { tab: 'receipts', permission: 'access_log.read' },
] as const
type Tab = (typeof TABS)[number]['tab']

export function RetentionPage() {
  const { t } = useTexts()
  const session = useSession()
  const tabs = TABS.filter(({ permission }) => may(session, permission)).map(({ tab }) => tab)
  const [tab, setTab] = useState<Tab>(tabs[0] ?? 'holds')
  return (
    <div class="page">
      <div class="page-head">
        <div>
          <h1>{t('retention.title')}</h1>
          <p class="lead">{t(`retention.lead.${tab}`)}</p>
        </div>
        <Segmented
          label={t('retention.title')}
          chosen={tab}
          choices={tabs.map((value) => ({ value, text: t(`retention.tab.${value}`), testId: `tab-${value}` }))}
          onChoose={setTab}
        />
      </div>
      {tab === 'places' && <Places />}
      {tab === 'holds' && <Holds />}
      {tab === 'receipts' && <Receipts />}
    </div>
  )
}

/** What `load` answers, asked for again with each new `key`. */
function useLoaded<T>(load: (signal: AbortSignal) => Promise<T>, key: string | number) {
  const [state, setState] = useState<{ value: T | null; error: unknown }>({ value: null, error: null })
  useEffect(() => {
    const stop = new AbortController()
    load(stop.signal).then(
      (value) => setState({ value, error: null }),
      (error: unknown) => stop.signal.aborted || setState(({ value }) => ({ value, error })),
    )
    return () => stop.abort()
  }, [key])
  return state
}

function Loaded({ error, value, children }: { error: unknown; value: unknown; children: ComponentChildren }) {
  const { explain } = useTexts()
  if (error !== null) return <Notice kind="bad">{explain(error)}</Notice>
  return value === null ? <Loading /> : <>{children}</>
}

const time = (text: string | null, { locale }: Translator) => (text ? formatDateTime(Date.parse(text), locale) : '')

// --- places --------------------------------------------------------------------------------------

function Places() {
  const texts = useTexts()
  const { t } = texts
  const [open, setOpen] = useState<Place | null>(null)
  const { value, error } = useLoaded((signal) => api.places(signal), 0)
  return (
    <Loaded value={value} error={error}>
      <Table
        label={t('retention.tab.places')}
        testId="policy-places"
        columns={[
          { title: t('retention.place') },
          { title: t('retention.level') },
          { title: t('cameras.actions'), hidden: true },
        ]}
      >
        {value?.map((place) => (
          <tr key={place.id} data-place={place.id}>
            <td style={{ paddingInlineStart: `${16 + 20 * depth(place, value)}px` }}>
              {place.name} <code class="code">{place.id}</code>
            </td>
            <td>{word(place.level, texts)}</td>
            <td>
              <div class="row-actions">
                <button
                  type="button"
                  class="button"
                  data-testid="place-policy"
                  aria-label={`${t('retention.policy')}: ${place.name}`}
                  onClick={() => setOpen(place)}
                >
                  <Icon name="lock" />
                  <span>{t('retention.policy')}</span>
                </button>
              </div>
            </td>
          </tr>
        ))}
      </Table>
      <p class="fine">
        {t('retention.camerasToo')} <a href={href.cameras}>{t('nav.cameras')}</a>
      </p>
      {open && (
        <RetentionDialog of={{ kind: 'place', id: open.id }} name={open.name} onClose={() => setOpen(null)} />
      )}
    </Loaded>
  )
}

function depth(place: Place, all: Place[]): number {
  const parent = all.find((one) => one.id === place.parent)
  return parent ? 1 + depth(parent, all) : 0
}

// --- holds ---------------------------------------------------------------------------------------

function Holds() {
  const { t } = useTexts()
  const [active, setActive] = useState(true)
  const [attempt, setAttempt] = useState(0)
  const [releasing, setReleasing] = useState<Hold | null>(null)
  const { value, error } = useLoaded((signal) => api.holds(active, null, signal), `${active} ${attempt}`)
  return (
    <>
      <Segmented
        label={t('hold.which')}
        chosen={active}
        choices={[
          { value: true, text: t('hold.active') },
          { value: false, text: t('hold.all'), testId: 'all-holds' },
        ]}
        onChoose={setActive}
      />
      <Loaded value={value} error={error}>
        {value?.length === 0 ? (
          <Empty title={t('hold.none')}>
            <p class="fine">{t('hold.noneHint')}</p>
          </Empty>
        ) : (
          <Table
            label={t('retention.tab.holds')}
            testId="holds"
            columns={[
              { title: t('log.field.camera') },
              { title: t('hold.span') },
              { title: t('hold.reason') },
              { title: t('hold.placedBy') },
              { title: t('hold.until') },
              { title: t('cameras.actions'), hidden: true },
            ]}
          >
            {value?.map((hold) => (
              <HoldRow key={hold.id} hold={hold} onRelease={setReleasing} />
            ))}
          </Table>
        )}
      </Loaded>
      {releasing && (
        <ReleaseDialog
          hold={releasing}
          onClose={() => {
            setReleasing(null)
            setAttempt(attempt + 1)
          }}
        />
      )}
    </>
  )
}

function HoldRow({ hold, onRelease }: { hold: Hold; onRelease: (hold: Hold) => void }) {
  const texts = useTexts()
  const { t } = texts
  return (
    <tr data-hold={hold.id}>
      <td>
        <a class="row-title" href={href.camera(hold.camera, Date.parse(hold.start))}>
          {hold.camera}
        </a>
        <div class="fine">{t('hold.number', { id: hold.id })}</div>
      </td>
      <td class="nowrap">
        {time(hold.start, texts)}
        <br />
        {time(hold.end, texts)}
      </td>
      <td>
        {hold.reason}
        {hold.case_number && <div class="fine">{t('hold.case', { number: hold.case_number })}</div>}
      </td>
      <td>
        {hold.placed_by}
        <div class="fine">{time(hold.placed_at, texts)}</div>
      </td>
      <td>
        {hold.released_at ? (
          <>
            {t('hold.releasedBy', { name: hold.released_by ?? '', time: time(hold.released_at, texts) })}
            <div class="fine">{hold.release_reason}</div>
          </>
        ) : hold.active ? (
          time(hold.until, texts) || t('hold.untilReleased')
        ) : (
          t('hold.expired', { time: time(hold.until, texts) })
        )}
      </td>
      <td>
        {hold.active && (
          <div class="row-actions">
            <button type="button" class="button" data-testid="release" onClick={() => onRelease(hold)}>
              {t('hold.release')}
            </button>
          </div>
        )}
      </td>
    </tr>
  )
}

function ReleaseDialog({ hold, onClose }: { hold: Hold; onClose: () => void }) {
  const { t, explain } = useTexts()
  const [reason, setReason] = useState('')
  const { busy, error, submit } = useSubmit()
  return (
    <Dialog title={t('hold.releaseTitle', { id: hold.id })} onClose={onClose} testId="release-dialog">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          submit(() => api.releaseHold(hold.id, reason.trim()).then(onClose))
        }}
      >
        <p>{t('hold.releaseBody')}</p>
        <Field label={t('hold.releaseReason')} name="reason" value={reason} onInput={setReason} required autoFocus />
        {error !== null && <Notice kind="bad">{explain(error)}</Notice>}
        <DialogActions
          submit={t('hold.release')}
          testId="confirm-release"
          disabled={busy || reason.trim() === ''}
          danger
          onClose={onClose}
        />
      </form>
    </Dialog>
  )
}

// --- receipts ------------------------------------------------------------------------------------

function Receipts() {
  const { t } = useTexts()
  const { value, error } = useLoaded((signal) => api.receipts(null, signal), 0)
  return (
    <Loaded value={value} error={error}>
      {value?.length === 0 ? (
        <Empty title={t('receipt.none')} />
      ) : (
        <Table
          label={t('retention.tab.receipts')}
          testId="receipts"
          columns={[
            { title: t('receipt.made') },
            { title: t('receipt.footage') },
            { title: t('receipt.keys') },
            { title: t('receipt.backups') },
            { title: t('cameras.actions'), hidden: true },
          ]}
        >
          {value?.map((receipt) => (
            <ReceiptRow key={receipt.id} receipt={receipt} />
          ))}
        </Table>
      )}
    </Loaded>
  )
}

function ReceiptRow({ receipt }: { receipt: Receipt }) {
  const texts = useTexts()
  const { t, locale } = texts
  return (
    <tr>
      <td class="nowrap">
        {time(receipt.made_at, texts)}
        <div class="fine">{t('receipt.number', { id: receipt.id, node: receipt.node })}</div>
      </td>
      <td>
        {t('receipt.objects', {
          objects: formatNumber(receipt.objects, locale),
          size: formatBytes(receipt.size_bytes, locale),
          cameras: formatNumber(receipt.cameras, locale),
        })}
        <div class="fine">{t('receipt.sentence')}</div>
      </td>
      <td>{t('receipt.keyCount', { keys: formatNumber(receipt.keys, locale) })}</td>
      <td>
        {receipt.last_backup_expires_at
          ? t('receipt.backupsUntil', { time: time(receipt.last_backup_expires_at, texts) })
          : t('receipt.noBackups')}
      </td>
      <td>
        <div class="row-actions">
          <a class="button" href={receiptUrl(receipt.id)} download={`receipt-${receipt.id}.json`} data-testid="receipt">
            {t('receipt.download')}
          </a>
        </div>
      </td>
    </tr>
  )
}
