// Numbers as a person reads them. Each has its unit; none has more digits than it deserves.

const cents = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' })
const small = new Intl.NumberFormat('en-US', {
  style: 'currency',
  currency: 'USD',
  minimumFractionDigits: 4,
  maximumFractionDigits: 4,
})
const whole = new Intl.NumberFormat('en-US')

const SMALL_BELOW_USD = 0.1

/** `$1,234.56`, `$0.0021`; a price nobody knows is a dash, never zero. */
export function usd(amount: string | null): string {
  if (amount === null) return '–'
  const value = Number(amount)
  if (!Number.isFinite(value)) return '–'
  return (value !== 0 && Math.abs(value) < SMALL_BELOW_USD ? small : cents).format(value)
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

/** The time of day in the user's zone, with the day where it is another one: `14:32`, `Mon 14:32`. */
export function clock(moment: string): string {
  const at = new Date(moment)
  if (Number.isNaN(at.getTime())) return moment
  const time = at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
  const isToday = at.toDateString() === new Date().toDateString()
  return isToday ? time : `${at.toLocaleDateString('en-GB', { weekday: 'short' })} ${time}`
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

/** A reason as a sentence of its own. */
export function sentence(reason: string): string {
  return capital(reason) + (/[.!?]$/.test(reason) ? '' : '.')
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
