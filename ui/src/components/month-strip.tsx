/** The last days side by side: how much of each was recorded, and the way to it. */
import { formatDate, formatPercent } from '../format'
import { useTexts } from '../i18n'
import type { DayShare } from '../month'
import type { View } from '../timeline'

export function MonthStrip(props: { month: DayShare[] | null; day: View; onDay: (day: View) => void }) {
  const { t, locale } = useTexts()
  return (
    <div class="month-strip" role="group" aria-label={t('timeline.month')}>
      {(props.month ?? []).map(({ startMs, endMs, share, gaps }) => {
        const label = t('timeline.dayShare', {
          date: formatDate(startMs, locale),
          percent: formatPercent(share, locale),
          gaps,
        })
        const isShown = startMs === props.day.startMs
        return (
          <button
            key={startMs}
            type="button"
            class={gaps > 0 ? 'month-day month-gaps' : 'month-day'}
            title={label}
            aria-label={label}
            aria-pressed={isShown}
            data-testid="month-day"
            data-share={share.toFixed(4)}
            onClick={() => props.onDay({ startMs, endMs })}
          >
            <span style={{ height: `${share > 0 ? Math.max(8, share * 100) : 0}%` }} />
          </button>
        )
      })}
    </div>
  )
}
