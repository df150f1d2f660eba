// Whether amounts may be seen, and in which other currency they are shown beside dollars.

import type { Attachment } from 'svelte/attachments'
import { said } from './asked.svelte'
import type { CurrencyView } from './bindings/CurrencyView'
import type { Setup } from './host'
import { keep, kept } from './kept'

const HIDDEN = 'hidden'

class Amounts {
  /** Somebody else looks at the screen. Survives a reload. */
  hidden = $state(kept('amounts') === HIDDEN)
  /** Null where the settings name none, or no rate of today or before. */
  currency = $state.raw<CurrencyView | null>(null)

  /** Why the page alone follows. */
  problem = $state('')
  #setup?: Setup

  /** The app knows best: its tray and notifications hide them too. */
  async follow(setup: Setup) {
    this.#setup = setup
    this.#hide(await setup.amountsHidden())
  }
  async toggle() {
    this.#hide(!this.hidden)
    try {
      await this.#setup?.hideAmounts(this.hidden)
      this.problem = ''
    } catch (error) {
      this.problem = `The tray and notifications go on as before: ${said(error)}`
    }
  }
  #hide(hidden: boolean) {
    this.hidden = hidden
    keep('amounts', hidden ? HIDDEN : 'shown')
  }
}

export const amounts = new Amounts()

/** For a field that holds an amount: dots while amounts are hidden, until it has the focus. */
export const veil: Attachment<HTMLInputElement> = (input) => {
  const { hidden } = amounts
  const look = (event?: Event) => (input.type = hidden && event?.type !== 'focus' ? 'password' : 'text')
  look()
  input.addEventListener('focus', look)
  input.addEventListener('blur', look)
  return () => {
    input.removeEventListener('focus', look)
    input.removeEventListener('blur', look)
  }
}
