// Days and hours as the clocks of a named time zone show them.

/** The zone, or this machine's where nobody knows it. */
export function known(zone: string): string | undefined {
  if (!zones.has(zone)) zones.set(zone, isKnown(zone))
  return zones.get(zone) ? zone : undefined
}

const zones = new Map<string, boolean>()

function isKnown(zone: string): boolean {
  try {
    return Boolean(new Intl.DateTimeFormat('en-US', { timeZone: zone }))
  } catch {
    return false
  }
}

const formats = new Map<string, Intl.DateTimeFormat>()

function parts(at: number, zone: string): Record<string, string> {
  let format = formats.get(zone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: known(zone),
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
    })
    formats.set(zone, format)
  }
  return Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]))
}

/** `2026-11-27` */
export function dayOf(at: number, zone: string): string {
  const { year, month, day } = parts(at, zone)
  return `${year}-${month}-${day}`
}

/** The day that comes so many days after. */
export function dayAfter(day: string, days: number): string {
  return new Date(Date.parse(`${day}T12:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10)
}

/** `2026-11-27T09:00:00+01:00` */
export function hourName(at: number, zone: string): string {
  const { year, month, day, hour, minute } = parts(at, zone)
  const shown = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:00Z`)
  const offset = Math.round((shown - Math.floor(at / 60_000) * 60_000) / 60_000)
  const size = Math.abs(offset)
  const two = (number: number) => String(number).padStart(2, '0')
  return `${year}-${month}-${day}T${hour}:00:00${offset < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
}

/** Of an hour's name: Monday is 0. */
export function weekdayAndHour(name: string): [number, number] {
  const day = new Date(`${name.slice(0, 10)}T12:00:00Z`).getUTCDay()
  return [(day + 6) % 7, Number(name.slice(11, 13))]
}

const WEEKDAY: Intl.DateTimeFormatOptions = { weekday: 'short' }
const DATE: Intl.DateTimeFormatOptions = { day: 'numeric', month: 'short' }
const TIME: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit' }

/** A way to say moments; its formats are made once, since each takes longer than a hundred uses of it. */
function spoken(options: Intl.DateTimeFormatOptions): (moment: string | number, zone: string) => string {
  const made = new Map<string, Intl.DateTimeFormat>()
  return (moment, zone) => {
    const at = new Date(moment)
    if (Number.isNaN(at.getTime())) return String(moment)
    let format = made.get(zone)
    if (!format) made.set(zone, (format = new Intl.DateTimeFormat('en-GB', { ...options, timeZone: known(zone) })))
    return format.format(at)
  }
}

/** `14:32` */
export const time = spoken(TIME)
const withWeekday = spoken({ ...WEEKDAY, ...TIME })
const withDate = spoken({ ...DATE, ...TIME })
const withYear = spoken({ ...DATE, ...TIME, year: 'numeric' })

/** Further off, the same weekday is another one's too. */
const NEAR_MS = 6 * 86_400_000
const isNear = (moment: string | number, now: number) => !(Math.abs(new Date(moment).getTime() - now) > NEAR_MS)

/** `Mon 14:32`; further off with its date, `Mon 28 Dec, 14:32`. */
export function weekTime(moment: string | number, zone: string, now = Date.now()): string {
  return isNear(moment, now) ? withWeekday(moment, zone) : `${weekday(moment, zone)} ${dateTime(moment, zone, now)}`
}
/** `Mon 14:32 (Europe/Berlin)`, where a reset is meant. */
export const zoned = (moment: string, zone: string, now = Date.now()) => `${weekTime(moment, zone, now)} (${zone})`
/** The time of day, with the weekday where it is another day: `14:32`, `Mon 14:32`, `Mon 28 Dec, 14:32`. */
export function clock(moment: string, zone: string, now = Date.now()): string {
  const at = Date.parse(moment)
  return Number.isNaN(at) || dayOf(at, zone) === dayOf(now, zone) ? time(moment, zone) : weekTime(moment, zone, now)
}
/** `27 Nov, 14:32`; of another year with it, `27 Nov 2025, 14:32`. */
export function dateTime(moment: string | number, zone: string, now = Date.now()): string {
  const year = (at: string | number) => dayOf(new Date(at).getTime(), zone).slice(0, 4)
  return (isNear(moment, now) || year(moment) === year(now) ? withDate : withYear)(moment, zone)
}
/** `Mon` */
export const weekday = spoken(WEEKDAY)
/** `27 Nov` */
export const date = spoken(DATE)
/** `27 Nov` of a day's name. */
export const dayWords = (day: string) => date(`${day}T12:00:00Z`, 'UTC')
/** `Friday, 27 November` of a day's name. */
export const dayLong = (day: string) => longDate(`${day}T12:00:00Z`, 'UTC')
const longDate = spoken({ weekday: 'long', day: 'numeric', month: 'long' })
