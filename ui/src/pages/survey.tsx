/** Which cameras can be linked: a list goes in, a verdict and a sentence for each comes out. */
import { useEffect, useMemo, useState } from 'preact/hooks'
import { api, surveyTableUrl } from '../api'
import { CameraLogin } from '../components/camera-fields'
import { Loading, Notice } from '../components/feedback'
import { Icon } from '../components/icon'
import { Segmented } from '../components/segmented'
import { SurveyTable } from '../components/survey-table'
import { formatDateTime } from '../format'
import { useTexts } from '../i18n'
import { Poller, usePolled } from '../poller'
import { MOST_TEXT, toNewSurvey } from '../survey-input'
import type { Survey, SurveyRow, Verdict } from '../types'
import { AddCamera } from './add-camera'

const POLL_MS = 1000
const VERDICTS: Verdict[] = ['eligible', 'substream_only', 'not_eligible']

export function SurveyPage() {
  const { t, explain } = useTexts()
  const [shown, show] = useState<Survey | null>(null)
  const [latest, setLatest] = useState<{ asked: boolean; error: unknown }>({ asked: false, error: null })
  const [login, setLogin] = useState({ username: '', password: '' })
  const [adding, add] = useState<SurveyRow | null>(null)
  useEffect(() => {
    const stop = new AbortController()
    api.surveys(stop.signal).then(
      ([newest]) => {
        if (newest) show((before) => before ?? newest)
        setLatest({ asked: true, error: null })
      },
      (error: unknown) => stop.signal.aborted || setLatest({ asked: true, error }),
    )
    return () => stop.abort()
  }, [])
  return (
    <div class="page">
      <div class="page-head">
        <div>
          <h1>{t('survey.title')}</h1>
          <p class="lead">
            {shown ? t('survey.lead', { seconds: shown.seconds }) : t('survey.leadPlain')}
          </p>
        </div>
      </div>
      <SurveyForm login={login} onLogin={(changes) => setLogin({ ...login, ...changes })} onStarted={show} />
      {latest.error !== null && <Notice kind="bad">{explain(latest.error)}</Notice>}
      {shown && <Results key={shown.id} started={shown} onAdd={add} />}
      {!latest.asked && <Loading />}
      {adding && (
        <AddCamera
          initial={{ address: adding.address, name: adding.name || adding.model || adding.address, ...login }}
          onClose={() => add(null)}
        />
      )}
    </div>
  )
}

interface FormProps {
  login: { username: string; password: string }
  onLogin: (changes: { username?: string; password?: string }) => void
  onStarted: (survey: Survey) => void
}

function SurveyForm({ login, onLogin, onStarted }: FormProps) {
  const { t, explain } = useTexts()
  const [text, setText] = useState('')
  const [uploaded, setUploaded] = useState(false)
  const [problem, setProblem] = useState<'missing' | 'large' | null>(null)
  const [step, setStep] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: null })
  const take = (value: string, file: boolean) => {
    setText(value)
    setUploaded(file)
    setProblem(value.length > MOST_TEXT ? 'large' : null)
  }
  const start = async (event: Event) => {
    event.preventDefault()
    if (text.trim() === '') return setProblem('missing')
    if (problem === 'large') return
    setStep({ busy: true, error: null })
    try {
      onStarted(await api.startSurvey(toNewSurvey(text, uploaded, login.username, login.password)))
      setStep({ busy: false, error: null })
    } catch (error) {
      setStep({ busy: false, error })
    }
  }
  return (
    <form class="form panel survey-form" onSubmit={(event) => void start(event)} noValidate>
      <div class="field">
        <label for="survey-devices">{t('survey.devices')}</label>
        <textarea
          id="survey-devices"
          name="devices"
          rows={4}
          spellcheck={false}
          value={text}
          aria-invalid={problem ? true : undefined}
          aria-describedby="survey-devices-hint"
          onInput={(event) => take(event.currentTarget.value, false)}
        />
        <p class={problem ? 'field-error' : 'field-hint'} id="survey-devices-hint">
          {t(problem === 'missing' ? 'survey.devicesMissing' : problem === 'large' ? 'survey.tooLarge' : 'survey.devicesHint')}
        </p>
      </div>
      <CameraLogin {...login} onChange={onLogin} passwordLabel={t('add.password')} />
      {step.error !== null && (
        <Notice kind="bad">
          {explain(step.error)}
        </Notice>
      )}
      <div class="form-actions">
        <label class="button upload">
          <Icon name="plus" />
          {t('survey.upload')}
          <input
            type="file"
            class="sr-only"
            name="table"
            accept=".csv,.tsv,.txt,text/csv"
            onChange={(event) => void readFile(event.currentTarget).then((file) => file !== null && take(file, true))}
          />
        </label>
        <button type="submit" class="button button-primary" data-testid="survey-start" disabled={step.busy}>
          <Icon name="search" />
          {t(step.busy ? 'survey.starting' : 'survey.start')}
        </button>
      </div>
    </form>
  )
}

async function readFile(input: HTMLInputElement): Promise<string | null> {
  const file = input.files?.[0]
  input.value = '' // the same file may be chosen once more, after it was mended
  return file ? file.text() : null
}

interface Answer {
  survey: Survey
  rows: SurveyRow[]
}

/** Asks for what changed since the last answer, and no more once the survey has ended. */
function surveyPoller(id: string): Poller<Answer> {
  const rows = new Map<number, SurveyRow>()
  let last: Answer | null = null
  return new Poller<Answer>(async (signal) => {
    if (last && last.survey.state !== 'running') return last
    const { rows: changed, ...survey } = await api.survey(id, last?.survey.revision ?? 0, signal)
    for (const row of changed) rows.set(row.row, row)
    last = { survey, rows: [...rows.values()].sort((one, other) => one.row - other.row) }
    return last
  }, POLL_MS)
}

function Results({ started, onAdd }: { started: Survey; onAdd: (row: SurveyRow) => void }) {
  const { t, explain, locale } = useTexts()
  const poller = useMemo(() => surveyPoller(started.id), [started.id])
  const { value, error } = usePolled(poller)
  const [only, setOnly] = useState<Verdict | null>(null)
  const survey = value?.survey ?? started
  const rows = value?.rows.filter((row) => only === null || row.verdict === only) ?? []
  return (
    <section class="survey-results" data-testid="survey-results" data-state={survey.state}>
      <div class="page-head">
        <div>
          <h2>{t('survey.of', { time: formatDateTime(Date.parse(survey.started_at), locale) })}</h2>
          <p class="fine" role="status">
            {t(`surveyState.${survey.state}`)}
            {' · '}
            {t('survey.progress', { done: survey.done, devices: survey.devices })}
          </p>
        </div>
        <div class="button-group">
          {survey.state === 'running' && <CancelButton id={survey.id} onDone={() => poller.refresh()} />}
          <a class="button" href={surveyTableUrl(survey.id)} download data-testid="survey-csv">
            {t('survey.download')}
          </a>
        </div>
      </div>
      <progress class="progress" max={survey.devices} value={survey.done} aria-label={t('survey.title')} />
      <Segmented
        label={t('survey.verdict')}
        chosen={only}
        choices={[
          { value: null, text: t('survey.all', { count: survey.devices }) },
          ...VERDICTS.map((value) => ({ value, text: `${t(`verdict.${value}`)} ${survey[value]}` })),
        ]}
        onChoose={setOnly}
      />
      {error !== null && <Notice kind="warn">{value ? t('app.offline') : explain(error)}</Notice>}
      {value && rows.length === 0 ? <p class="fine">{t('survey.noRows')}</p> : <SurveyTable rows={rows} onAdd={onAdd} />}
    </section>
  )
}

function CancelButton({ id, onDone }: { id: string; onDone: () => void }) {
  const { t } = useTexts()
  const [busy, setBusy] = useState(false)
  const cancel = async () => {
    setBusy(true)
    await api.cancelSurvey(id).catch(() => setBusy(false)) // what became of it the next answer tells
    onDone()
  }
  return (
    <button type="button" class="button" data-testid="survey-cancel" disabled={busy} onClick={() => void cancel()}>
      <Icon name="close" />
      {t(busy ? 'survey.cancelling' : 'survey.cancel')}
    </button>
  )
}
