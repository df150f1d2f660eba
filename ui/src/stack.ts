// Days as stacks: the dearest names get a place of their own, the rest share one.

import type { DaysView } from './bindings/DaysView'
import type { UsageRowView } from './bindings/UsageRowView'

export const NAMES_MAX = 6

export interface Stack {
  /** The dearest of all days first; the last one may be all others. */
  names: string[]
  days: { day: string; parts: number[]; sum: number; calls: number }[]
  top: number
}

const OTHERS = 'others'
const cost = (row: UsageRowView) => Number(row.cost_usd ?? 0)

export function stacked(view: DaysView, none: string): Stack {
  const sums = new Map<string, number>()
  const name = (row: UsageRowView) => row.key || none
  for (const row of view.days.flatMap((day) => day.rows)) sums.set(name(row), (sums.get(name(row)) ?? 0) + cost(row))
  const ranked = [...sums].toSorted((a, b) => b[1] - a[1]).map(([key]) => key)
  const own = ranked.length > NAMES_MAX ? ranked.slice(0, NAMES_MAX - 1) : ranked
  const names = ranked.length > own.length ? [...own, OTHERS] : own
  const days = view.days.map(({ day, rows }) => {
    const parts = names.map(() => 0)
    for (const row of rows) {
      const at = own.indexOf(name(row))
      const place = at < 0 ? names.length - 1 : at
      parts[place] = (parts[place] ?? 0) + cost(row)
    }
    return { day, parts, sum: parts.reduce((all, part) => all + part, 0), calls: rows.reduce((all, row) => all + row.calls, 0) }
  })
  return { names, days, top: Math.max(0, ...days.map((day) => day.sum)) }
}

/** Round marks from 0 to the first one at or above the top. */
export function marks(top: number, wanted = 4): number[] {
  if (!(top > 0)) return [0]
  const rough = top / wanted
  const size = 10 ** Math.floor(Math.log10(rough))
  const step = size * ([1, 2, 2.5, 5, 10].find((part) => part * size >= rough) ?? 10)
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, at) => at * step)
}
