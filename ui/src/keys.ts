// What a key means in the window: a view, the filter, the export, news, or the way back.

import { type View, viewOf } from './views'

export type Wish = { go: View } | { focus: 'filter' | 'export' } | 'refresh' | 'hide' | 'back' | null

const FIELDS = ['INPUT', 'SELECT', 'TEXTAREA']

export function wish(event: KeyboardEvent): Wish {
  const { key, code, target } = event
  const isTyping = target instanceof HTMLElement && FIELDS.includes(target.tagName)
  // A keyboard whose row of digits begins with & has the same keys there.
  const digit = event.shiftKey ? undefined : /^Digit(\d)$/.exec(code)?.[1]
  const view = viewOf(key) ?? viewOf(digit ?? '')
  if (event.ctrlKey || event.metaKey) return view && view !== 'help' && !event.altKey ? { go: view } : null
  if (event.altKey) return null
  if (key === 'Escape') return 'back'
  if (isTyping) return null
  if (view) return { go: view }
  if (key === '/') return { focus: 'filter' }
  if (key.toLowerCase() === 'e') return { focus: 'export' }
  if (key.toLowerCase() === 'h') return 'hide'
  return key.toLowerCase() === 'r' ? 'refresh' : null
}

/** Closes what a button has opened around the focus, and gives the focus back to that button; else leaves the field. */
export function back() {
  const at = document.activeElement as HTMLElement | null
  const openers = [...document.querySelectorAll<HTMLElement>('[aria-expanded="true"][aria-controls]')]
  const opener = openers.find((one) => one === at || document.getElementById(one.getAttribute('aria-controls') ?? '')?.contains(at))
  if (!opener) return at?.blur()
  opener.click()
  opener.focus()
}
