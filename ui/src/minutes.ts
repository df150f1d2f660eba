// Minutes of a group, one after the other: those in which nothing was used are not told, and are nothing, not unknown.

import type { MinutesView } from './bindings/MinutesView'

export const MEASURES = [
  { name: 'requests', label: 'Requests', unit: 'requests' },
  { name: 'input_tokens', label: 'Input', unit: 'input tokens' },
  { name: 'output_tokens', label: 'Output', unit: 'output tokens' },
] as const
export type Measure = (typeof MEASURES)[number]['name']

export interface Minute {
  at: number
  used: number
  over: boolean
}

const MINUTE_MS = 60_000
/** A day of 25 hours. */
const MINUTES_MAX = 1_500

export function minutesOf(view: MinutesView, measure: Measure): Minute[] {
  const [from, to] = [floor(Date.parse(view.from)), Date.parse(view.to)]
  const told = new Map(view.minutes.map((one) => [Date.parse(one.at), one]))
  const all: Minute[] = []
  for (let at = from; at < to && all.length < MINUTES_MAX; at += MINUTE_MS) {
    const one = told.get(at)
    all.push({ at, used: one?.[measure] ?? 0, over: one?.over.includes(measure) ?? false })
  }
  return all
}

export function limitOf(view: MinutesView, measure: Measure): number | null {
  return view.of?.[`${measure}_limit`] ?? null
}

/** The whole minutes up to now. */
export function lastHours(hours: number, now: number): { from: string; to: string } {
  const end = floor(now) + MINUTE_MS
  return { from: new Date(end - hours * 3_600_000).toISOString(), to: new Date(end).toISOString() }
}

const floor = (at: number) => Math.floor(at / MINUTE_MS) * MINUTE_MS
