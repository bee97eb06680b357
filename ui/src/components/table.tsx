/** A table that scrolls within itself, and falls into cards on a phone. */
import type { ComponentChildren } from 'preact'

export interface Column {
  title: string
  class?: string
  /** Only for whom a screen is read to. */
  hidden?: boolean
}

interface TableProps {
  label: string
  columns: Column[]
  class?: string
  scrollClass?: string
  testId?: string
  children: ComponentChildren
}

export function Table({ label, columns, class: extra = '', scrollClass = 'table-scroll', testId, children }: TableProps) {
  return (
    <div class={scrollClass} tabIndex={0} role="region" aria-label={label}>
      <table class={`table table-cards ${extra}`.trim()} data-testid={testId}>
        <thead>
          <tr>
            {columns.map(({ title, class: column, hidden }) => (
              <th key={title} scope="col" class={column}>
                {hidden ? <span class="sr-only">{title}</span> : title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  )
}
