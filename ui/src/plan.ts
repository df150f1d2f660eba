// Other futures: changes as the application reads them.

import type { ForecastView } from './bindings/ForecastView'

export type Kind = 'pause' | 'stop' | 'move' | 'batch' | 'limit'

export const KINDS: { kind: Kind; label: string }[] = [
  { kind: 'pause', label: 'Pause background calls' },
  { kind: 'stop', label: 'Stop a client' },
  { kind: 'move', label: 'Move a part to another model' },
  { kind: 'batch', label: 'Send as batches, at half the price' },
  { kind: 'limit', label: 'Set another limit' },
]

export interface Draft {
  kind: Kind
  /** '' is all of them. */
  client: string
  /** `18:00`; '' is now. */
  at: string
  percent: number
  model: string
  /** `anthropic week` */
  window: string
  amount: string
}

/** `stop ci at 18:00` */
export function change(draft: Draft): string {
  const { kind, client, at, percent, model, window, amount } = draft
  switch (kind) {
    case 'pause':
      return 'pause background'
    case 'stop':
      return at ? `stop ${client} at ${at}` : `stop ${client}`
    case 'move':
      return client ? `move ${percent}% of ${client} to ${model}` : `move ${percent}% to ${model}`
    case 'batch':
      return client ? `batch ${client}` : 'batch'
    case 'limit':
      return `limit ${window} to ${amount}`
  }
}

export function isWhole({ kind, client, percent, model, window, amount }: Draft): boolean {
  if (kind === 'stop') return client !== ''
  if (kind === 'move') return percent > 0 && percent <= 100 && model.trim() !== ''
  if (kind === 'limit') return window !== '' && Number(amount) >= 0 && amount.trim() !== ''
  return true
}

/** As a change names it. */
export function windowName({ scope, upstream, window }: ForecastView): string {
  return [scope ?? upstream, window].filter(Boolean).join(' ')
}
