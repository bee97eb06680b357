/** Who did what, newest first. */
import { useEffect, useState } from 'preact/hooks'
import { api } from '../api'
import { Empty, Loading, Notice } from '../components/feedback'
import { Table } from '../components/table'
import { formatDateTime } from '../format'
import { knownKey, useTexts } from '../i18n'
import { detailText, subjectText, word } from '../log-text'
import type { AccessLogEntry, AccessLogPage as LogPage } from '../types'

const PAGE_SIZE = 50

export function AccessLogPage() {
  const { t, explain } = useTexts()
  const [before, setBefore] = useState<number | null>(null)
  const [attempt, setAttempt] = useState(0)
  const [page, setPage] = useState<LogPage | null>(null)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    const stop = new AbortController()
    api.accessLog(PAGE_SIZE, before, stop.signal).then(
      (answer) => {
        setPage(answer)
        setError(null)
      },
      (reason: unknown) => stop.signal.aborted || setError(reason),
    )
    return () => stop.abort()
  }, [before, attempt])
  const reload = () => {
    setBefore(null)
    setAttempt(attempt + 1)
  }
  return (
    <div class="page">
      <div class="page-head">
        <div>
          <h1>{t('log.title')}</h1>
          <p class="lead">{t('log.lead')}</p>
        </div>
        <button type="button" class="button" onClick={reload}>
          {t('log.newest')}
        </button>
      </div>
      {error !== null && (
        <Notice kind="bad" onRetry={reload}>
          {explain(error)}
        </Notice>
      )}
      {page ? <Entries page={page} onOlder={setBefore} /> : error === null && <Loading />}
    </div>
  )
}

function Entries({ page, onOlder }: { page: LogPage; onOlder: (before: number) => void }) {
  const { t } = useTexts()
  if (page.entries.length === 0) return <Empty title={t('log.empty')} />
  const oldest = page.entries.at(-1)
  return (
    <>
      <Table
        label={t('log.title')}
        class="table-dense"
        testId="access-log"
        columns={[
          { title: t('log.entry') },
          { title: t('log.at') },
          { title: t('log.who') },
          { title: t('log.remote') },
          { title: t('log.action') },
          { title: t('log.subject') },
          { title: t('log.detail') },
        ]}
      >
        {page.entries.map((entry) => (
          <Row key={entry.entry} entry={entry} />
        ))}
      </Table>
      <div class="page-foot">
        {page.head && (
          <p class="fine">
            {t('log.head', { entry: page.head.entry, hash: `${page.head.hash.slice(0, 16)}…` })}
          </p>
        )}
        {oldest && oldest.entry > 1 && page.entries.length === PAGE_SIZE ? (
          <button type="button" class="button" onClick={() => onOlder(oldest.entry)}>
            {t('log.older')}
          </button>
        ) : (
          <p class="fine">{t('log.noMore')}</p>
        )}
      </div>
    </>
  )
}

function Row({ entry }: { entry: AccessLogEntry }) {
  const texts = useTexts()
  const { t, locale } = texts
  return (
    <tr>
      <td class="number">{entry.entry}</td>
      <td class="nowrap">
        <time dateTime={entry.at}>{formatDateTime(Date.parse(entry.at), locale)}</time>
      </td>
      <td>{entry.username ? word(entry.username, texts) : t('log.nobody')}</td>
      <td class="nowrap">{entry.remote}</td>
      <td class="cell-action">
        <ActionName action={entry.action} />
      </td>
      <td class="cell-subject">{subjectText(entry.subject ?? '', texts)}</td>
      <td class="cell-detail fine">{detailText(entry.detail, texts)}</td>
    </tr>
  )
}

function ActionName({ action }: { action: string }) {
  const { t } = useTexts()
  const key = knownKey(`action.${action}`)
  return (
    <>
      {key && <span class="action">{t(key)} </span>}
      <code class="code">{action}</code>
    </>
  )
}
