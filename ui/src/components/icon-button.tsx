/** A button that is an icon; its label is read, and seen on pointing at it. */
import { Icon, type IconName } from './icon'

interface IconButtonProps {
  icon: IconName
  label: string
  onClick: () => void
  disabled?: boolean
  pressed?: boolean
  testId?: string
}

export function IconButton(props: IconButtonProps) {
  return (
    <button
      type="button"
      class="button button-icon"
      aria-label={props.label}
      title={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      data-testid={props.testId}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  )
}
