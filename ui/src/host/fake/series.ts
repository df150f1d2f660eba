// What four made-up programs used in each hour of the last weeks. Sums of any kind are made from these and so agree.

import type { UsageRowView } from '../../bindings/UsageRowView'
import { dayOf, hourName, weekdayAndHour } from '../../zone'

export const ZONE = 'Europe/Berlin'
export const HOUR_MS = 3_600_000
export const DAY_MS = 86_400_000
const DAYS_BACK = 98

/** Dollars per million tokens: input, cache write, cache read, output. */
export const PRICES: Record<string, [number, number, number, number]> = {
  'claude-sonnet-4-5-20250929': [3, 3.75, 0.3, 15],
  'claude-haiku-4-5-20251001': [1, 1.25, 0.1, 5],
  'claude-opus-4-1-20250805': [15, 18.75, 1.5, 75],
}
export const MODELS = Object.keys(PRICES)

export const CLIENTS = [
  { name: 'claude-code', person: 'mira', project: 'web', tenant: '', class: 'normal', models: [0, 0, 0, 2], hours: [8, 19], rate: 9 },
  { name: 'ci', person: '', project: 'web', tenant: '', class: 'normal', models: [1, 1, 0], hours: [7, 21], rate: 14 },
  { name: 'nightly', person: '', project: 'data', tenant: '', class: 'background', models: [1], hours: [1, 4], rate: 60 },
  { name: 'chat', person: 'jo', project: 'support', tenant: 'acme', class: 'critical', models: [0, 1], hours: [6, 23], rate: 6 },
] as const

/** The first moment of a day. */
export function startOf(day: string, zone: string): number {
  const guess = Date.parse(`${day}T00:00:00Z`)
  const minutes = (at: number) => Date.parse(`${hourName(at, zone).slice(0, 13)}:00:00Z`) - Math.floor(at / 3_600_000) * 3_600_000
  return guess - minutes(guess - minutes(guess))
}

export interface Atom {
  at: number
  client: (typeof CLIENTS)[number]
  model: string
  calls: number
  tokens: { input: number; write: number; read: number; output: number }
  cost: number
}

/** From 0 to 1, always the same for the same numbers. */
export function chance(...seed: number[]): number {
  let state = 0x9e3779b9
  for (const part of seed) state = Math.imul(state ^ (part | 0), 0x85ebca6b) ^ (state >>> 13)
  state = Math.imul(state ^ (state >>> 16), 0xc2b2ae35)
  return ((state ^ (state >>> 15)) >>> 0) / 2 ** 32
}

export function costOf(model: string, tokens: Atom['tokens']): number {
  const [input, write, read, output] = PRICES[model] ?? [0, 0, 0, 0]
  return (tokens.input * input + tokens.write * write + tokens.read * read + tokens.output * output) / 1e6
}

let made: Atom[] = []
let madeAt = 0

/** From the first. */
export function series(now: number): Atom[] {
  if (now - madeAt > HOUR_MS) (made = make(now)), (madeAt = now)
  return made
}

function make(now: number): Atom[] {
  const atoms: Atom[] = []
  const end = Math.floor(now / HOUR_MS)
  for (let hour = end - DAYS_BACK * 24; hour <= end; hour++) {
    const [weekday, local] = weekdayAndHour(hourName(hour * HOUR_MS, ZONE))
    CLIENTS.forEach((client, who) => {
      const [first, last] = client.hours
      if (local < first || local > last) return
      const quiet = weekday > 4 && client.name !== 'nightly' ? 0.12 : 1
      const calls = Math.round(client.rate * quiet * (0.4 + chance(hour, who)))
      if (calls === 0) return
      const model = MODELS[client.models[Math.floor(chance(hour, who, 7) * client.models.length)] ?? 0] as string
      const each = 1 + chance(hour, who, 3)
      const tokens = {
        input: Math.round(calls * 1_900 * each),
        write: Math.round(calls * 700 * each),
        read: Math.round(calls * 9_200 * each),
        output: Math.round(calls * 480 * each),
      }
      atoms.push({ at: hour * HOUR_MS, client, model, calls, tokens, cost: costOf(model, tokens) })
    })
  }
  return atoms
}

export type Key = (atom: Atom) => string

export function keyed(by: string): Key {
  if (by === 'day') return (atom) => dayOf(atom.at, ZONE)
  if (by === 'hour') return (atom) => hourName(atom.at, ZONE)
  if (by === 'model') return (atom) => atom.model
  if (by === 'client') return (atom) => atom.client.name
  return (atom) => String(atom.client[by as 'person' | 'project' | 'tenant'] ?? '')
}

export function rows(atoms: Atom[], key: Key): UsageRowView[] {
  const sums = new Map<string, UsageRowView & { cost: number }>()
  for (const atom of atoms) {
    const name = key(atom)
    const sum = sums.get(name) ?? { ...row(name), cost: 0 }
    sum.calls += atom.calls
    sum.input_tokens += atom.tokens.input
    sum.cache_write_5m_tokens += atom.tokens.write
    sum.cache_read_tokens += atom.tokens.read
    sum.output_tokens += atom.tokens.output
    sum.cost += atom.cost
    sums.set(name, sum)
  }
  return [...sums.values()].map(({ cost, ...sum }) => ({ ...sum, cost_usd: cost.toFixed(9) }))
}

export function row(key: string): UsageRowView {
  return {
    key,
    calls: 0,
    input_tokens: 0,
    cache_write_5m_tokens: 0,
    cache_write_1h_tokens: 0,
    cache_read_tokens: 0,
    output_tokens: 0,
    cost_usd: '0.000000000',
    unpriced_calls: 0,
    saved_usd: '0.000000000',
  }
}

export function spent(atoms: Atom[]): number {
  return atoms.reduce((sum, atom) => sum + atom.cost, 0)
}
