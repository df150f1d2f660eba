// What a key means in the window: a view, the filter, the export, news, or the way back.

import { type View, viewOf } from './views'

export type Wish = { go: View } | { focus: 'filter' | 'export' } | 'refresh' | 'hide' | 'back' | null

const PRESSED = ['checkbox', 'radio', 'range', 'color', 'file', 'button', 'submit', 'reset', 'image']

/** A field that takes letters and digits; a list finds its options by them. */
function takesText(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !PRESSED.includes(target.type)
  return target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement || (target instanceof HTMLElement && target.isContentEditable)
}

export function wish(event: KeyboardEvent): Wish {
  const { key, code, target } = event
  // A keyboard whose row of digits begins with & has the same keys there.
  const digit = event.shiftKey ? undefined : /^Digit(\d)$/.exec(code)?.[1]
  const view = viewOf(key) ?? viewOf(digit ?? '')
  if (event.ctrlKey || event.metaKey) return view && view !== 'help' && !event.altKey ? { go: view } : null
  if (event.altKey) return null
  if (key === 'Escape') return 'back'
  if (takesText(target)) return null
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
