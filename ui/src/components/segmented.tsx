/** A few choices side by side, of which one holds. */
interface Choice<T> {
  value: T
  text: string
  title?: string
  class?: string | undefined
  testId?: string
}

interface SegmentedProps<T> {
  label: string
  chosen: T
  choices: readonly Choice<T>[]
  onChoose: (value: T) => void
  testId?: string
  /** For tests: what holds at the moment, whatever was chosen. */
  running?: string | null
}

export function Segmented<T>({ label, chosen, choices, onChoose, testId, running }: SegmentedProps<T>) {
  return (
    <div class="segmented" role="group" aria-label={label} data-testid={testId} data-running={running}>
      {choices.map(({ value, text, title, class: name, testId: ofChoice }) => (
        <button
          key={String(value)}
          type="button"
          aria-pressed={value === chosen}
          class={name}
          title={title}
          data-testid={ofChoice}
          onClick={() => onChoose(value)}
        >
          {text}
        </button>
      ))}
    </div>
  )
}
