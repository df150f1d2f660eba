// Numbers as a person reads them. Each has its unit; none has more digits than it deserves.

import { amounts } from './amounts.svelte'

/** In place of each amount while somebody else looks on. */
const VEILED = '$•••'

const cents = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' })
const small = new Intl.NumberFormat('en-US', {
  style: 'currency',
  currency: 'USD',
  minimumFractionDigits: 4,
  maximumFractionDigits: 4,
})
const least = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD', maximumFractionDigits: 9 })
const wholeDollars = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD', maximumFractionDigits: 0 })
const whole = new Intl.NumberFormat('en-US')

const SMALL_BELOW_USD = 0.1
/** What four digits would round to nothing is not nothing. */
const LEAST_BELOW_USD = 0.00005

/** `$1,234.56`, `$0.0021`, the least to the nano-dollar; a price nobody knows is a dash, never zero. */
export function usd(amount: string | null): string {
  if (amount === null) return '–'
  const value = Number(amount)
  if (!Number.isFinite(value)) return '–'
  if (amounts.hidden) return VEILED
  const size = Math.abs(value)
  if (size === 0 || size >= SMALL_BELOW_USD) return cents.format(value)
  return (size < LEAST_BELOW_USD ? least : small).format(value)
}

/** Whole dollars, where cents would say more than is known: `$402`. */
export function dollars(amount: string | number): string {
  const value = Number(amount)
  if (!Number.isFinite(value)) return '–'
  return amounts.hidden ? VEILED : wholeDollars.format(value)
}

const CENTS_DIGITS = 2

/** How many digits after the point say all that is known of each: at least cents. */
export function digits(amounts: (string | null)[]): number {
  return Math.max(CENTS_DIGITS, ...amounts.map((amount) => (amount?.split('.')[1] ?? '').replace(/0+$/, '').length))
}

/** Every digit that is known of it, and more zeros where it stands over others: `$0.00552`, `$3.00`. */
export function exact(amount: string | null, places = digits([amount])): string {
  if (amount === null) return '–'
  if (amounts.hidden) return VEILED
  const [dollars, rest = ''] = amount.split('.')
  return `$${dollars}.${rest.slice(0, places).padEnd(places, '0')}`
}

/** The same amount in the user's own currency: `≈ €15.84 (rate of 2026-11-01)`; empty where there is none, or nothing to see. */
export function converted(amount: string | null): string {
  const shown = own(amount)
  return shown && `${shown} (rate of ${amounts.currency?.day})`
}

/** Where the day of the rate stands beside it: `≈ €15.84`. */
export function own(amount: string | null): string {
  const { currency, hidden } = amounts
  const value = Number(amount) * Number(currency?.rate)
  if (!currency || hidden || amount === null || !Number.isFinite(value)) return ''
  const digits = value !== 0 && Math.abs(value) < SMALL_BELOW_USD ? { minimumFractionDigits: 4, maximumFractionDigits: 4 } : {}
  const shown = new Intl.NumberFormat('en-US', { style: 'currency', currency: currency.code, ...digits }).format(value)
  return `≈ ${shown}`
}

/** A sentence that was made elsewhere, its amounts hidden where they are. */
export function veiled(text: string): string {
  return amounts.hidden ? text.replace(/\$\d[\d,]*(\.\d+)?/g, VEILED) : text
}

/** The marks of an axis, none with more digits than the steps between them need. */
export function axis(marks: number[], unit: string): string[] {
  const step = Math.abs((marks[1] ?? 1) - (marks[0] ?? 0))
  return marks.map((mark) => (unit === 'usd' && (step >= 1 || mark === 0) ? dollars(mark) : amount(mark, unit)))
}

/** In its unit: `$18.42`, `28.0k`, `42 %`. */
export function amount(value: string | number | null, unit: string): string {
  if (value === null) return '–'
  if (unit === 'usd') return usd(String(value))
  return unit === 'percent' ? percent(Number(value) / 100) : count(Number(value))
}

/** `980`, `28.0k`, `1.3M`. */
export function count(value: number): string {
  const size = Math.abs(value)
  if (size < 1_000) return whole.format(Math.round(value))
  if (size < 999_950) return `${(value / 1_000).toFixed(1)}k`
  return `${(value / 1_000_000).toFixed(1)}M`
}

/** `0.4 s`, `12 s`, `4 min`, `3 h`, `2 d`. */
export function duration(ms: number): string {
  const seconds = ms / 1_000
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 99.5) return `${Math.round(seconds)} s`
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`
  if (seconds < 129_600) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** Whole seconds: an age that flickers in tenths says nothing. */
export function age(ms: number): string {
  return ms < 100_000 ? `${Math.max(0, Math.floor(ms / 1_000))} s` : duration(ms)
}

/** `42 %`. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${whole.format(n)} ${n === 1 ? one : many}`
}

/** `claude-sonnet-4-5-20250929` reads as `Sonnet 4.5`; a name not of this kind stays as it is. */
export function model(name: string): string {
  const match = /^claude-([a-z]+)-(\d+)(?:-(\d{1,2}))?(?:-\d{8})?$/.exec(name)
  if (!match) return name
  const version = match[3] ? `${match[2]}.${match[3]}` : match[2]
  return `${capital(match[1] ?? '')} ${version}`
}

/** `sonnet-4` reads as `Sonnet 4`, `haiku-4.5` as `Haiku 4.5`. */
export function group(name: string): string {
  const match = /^([a-z]+)-(\d+)(?:[-.](\d+))?$/.exec(name)
  if (!match) return name
  return `${capital(match[1] ?? '')} ${match[3] ? `${match[2]}.${match[3]}` : match[2]}`
}

/** A reason as a sentence of its own. It may begin with a name such as `claude-opus-4-1`, which stays as it is. */
export function sentence(text: string): string {
  const reason = veiled(text)
  const [first = ''] = reason.split(' ')
  return (/\w[-_.\d]+\w/.test(first) ? reason : capital(reason)) + (/[.!?]$/.test(reason) ? '' : '.')
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
