// What a forecast says to a person.

import type { ForecastView } from './bindings/ForecastView'
import type { StatusView } from './bindings/StatusView'
import type { WindowView } from './bindings/WindowView'
import { amount, dollars, percent, sentence, usd, veiled } from './format'
import { weekTime, zoned } from './zone'

const SUBSCRIPTION = 'subscription'
const RUNS_OUT_FROM = 0.5
const WINDOWS: Record<string, string> = { tier: 'month of the tier', five_hour: 'five hours', seven_day: 'seven days' }

export const share = (forecast: ForecastView) => (Number(forecast.limit) > 0 ? Number(forecast.used) / Number(forecast.limit) : 0)

/** `day` of a budget that is named `client:ci day`. */
export const period = ({ name, scope }: WindowView) => (scope ? name.slice(scope.length).trim() : name)

const isOf = (window: WindowView) => (forecast: ForecastView) =>
  forecast.upstream === window.upstream && forecast.scope === window.scope && forecast.window === period(window)

export function forecastOf(window: WindowView, status: StatusView): ForecastView | undefined {
  return status.forecasts.find(isOf(window))
}

/** All there are, as full as they are now: a forecast is made every few minutes, and a window may have begun since. */
export function current(status: StatusView): ForecastView[] {
  const others = status.forecasts.filter((forecast) => !status.windows.some((window) => isOf(window)(forecast)))
  return [...status.windows.flatMap((window) => standing(window, status)), ...others]
}

const UNKNOWN = { p10: null, p50: null, p90: null }
const UNTOLD = { limit_since: null, p_runs_out: null, runs_out: UNKNOWN, left_at_reset: UNKNOWN, total: UNKNOWN, informative: false, basis: 'its first forecast is still to come', text: 'too early to tell', exchange: null, score: null }

/** None of one that has not begun. */
function standing(window: WindowView, status: StatusView): ForecastView[] {
  const { used, limit, unit, upstream, scope, resets_at } = window
  if (resets_at === null) return []
  const told = forecastOf(window, status)
  const isOver = told && Date.parse(told.resets_at) <= Date.parse(status.at)
  if (told && !isOver) return [{ ...told, used, limit, resets_at }]
  return [{ ...UNTOLD, window: period(window), upstream, scope, unit, since: status.at, used, limit, resets_at }]
}

export const FULL_FROM = 0.9

/** Who is nearly full is about to run out, whatever its forecast. */
function threat(forecast: ForecastView): number {
  const filled = Math.min(1, share(forecast))
  return Math.max(forecast.p_runs_out ?? 0, filled >= FULL_FROM ? filled : 0)
}

/** Those with a limit, the one that binds first: most likely to run out, then fullest. */
export function ranked(forecasts: ForecastView[]): ForecastView[] {
  return forecasts.filter((one) => one.limit !== null).sort((a, b) => threat(b) - threat(a) || share(b) - share(a))
}

/** The one that binds; without any limit the month's spending. */
export function binding(forecasts: ForecastView[]): ForecastView | undefined {
  return ranked(forecasts)[0] ?? forecasts.find((one) => one.window === 'spend month')
}

/** `this machine`, `client ci`. */
export function scopeWords(scope: string): string {
  return scope === 'machine' ? 'this machine' : scope.replace(':', ' ')
}

/** `week`, `day of client ci`, as it stands over a gauge. */
export function gauge({ window, scope }: ForecastView): string {
  return scope ? `${window} of ${scopeWords(scope)}` : window
}

/** `The week`, `The day of client ci`, `This month`. */
export function subject(forecast: ForecastView, upstreams: number): string {
  if (forecast.window === 'spend month') return 'This month'
  if (forecast.window === 'spend week') return 'This week'
  if (forecast.window === 'spend day') return 'Today'
  const window = WINDOWS[forecast.window] ?? forecast.window
  const of = forecast.scope ? scopeWords(forecast.scope) : upstreams > 1 ? forecast.upstream : null
  return `The ${window}${of ? ` of ${of}` : ''}`
}

export function runsOut(forecast: ForecastView): boolean {
  return forecast.informative && (forecast.p_runs_out ?? 0) >= RUNS_OUT_FROM
}

const WHOLE_FROM_USD = 10

/** `$22`, `$2.50`, `40.0k`. */
export function rough(value: string | number | null, unit: string): string {
  if (value === null) return '–'
  if (unit !== 'usd') return amount(value, unit)
  return Math.abs(Number(value)) < WHOLE_FROM_USD ? usd(String(value)) : dollars(value)
}

/** One sentence, and a second that says how sure it is. */
export function words(forecast: ForecastView, status: StatusView): { title: string; detail: string } {
  const zone = status.gateway.timezone
  const now = Date.parse(status.at)
  const what = subject(forecast, status.gateway.upstreams.length)
  const reset = zoned(forecast.resets_at, zone, now)
  const sure = [since(forecast, zone, now), score(forecast)].filter(Boolean).join(' ')
  if (share(forecast) >= 1) return { title: `${what} has run out.`, detail: `${filled(forecast)}It begins anew ${reset}.${refuses(forecast)}` }
  if (!forecast.informative) {
    const title = `${what} is ${percent(share(forecast))} used.`
    return { title, detail: `${filled(forecast)}It begins anew ${reset}. Too early to tell whether it lasts: ${veiled(forecast.basis)}.` }
  }
  if (runsOut(forecast)) {
    return { title: sentence(`${what} ${forecast.text}`), detail: `It begins anew ${reset}. ${chance(forecast)} ${sure}`.trim() }
  }
  const { total, left_at_reset: left, unit } = forecast
  if (!left) {
    const between = `8 in 10 between ${rough(total.p10, unit)} and ${rough(total.p90, unit)}.`
    return { title: `${what} comes to about ${rough(total.p50, unit)}.`, detail: `${between} ${sure}`.trim() }
  }
  return {
    title: `${what} lasts. About ${rough(left.p50, unit)} will be left on ${reset}.`,
    detail: `8 in 10 between ${rough(left.p10, unit)} and ${rough(left.p90, unit)}. ${chance(forecast)} ${sure}`.trim(),
  }
}

/** A percentage is all that is known of some. */
function filled({ used, limit, unit }: ForecastView): string {
  return unit === 'percent' ? '' : `${amount(used, unit)} of ${amount(limit, unit)} are used. `
}

/** A budget that is spent turns calls away. */
function refuses({ scope }: ForecastView): string {
  if (scope === null || scope === SUBSCRIPTION) return ''
  return ` Until then calls${scope === 'machine' ? '' : ` of ${scopeWords(scope)}`} are refused.`
}

/** A limit that came while the window ran. */
function since({ limit_since: at }: ForecastView, zone: string, now: number): string {
  return at ? `It has this limit since ${weekTime(at, zone, now)}; what was used before counts.` : ''
}

function chance({ p_runs_out: p }: ForecastView): string {
  if (p === null) return ''
  return p >= 1 ? 'It has run out.' : `It runs out before with a probability of ${percent(p)}.`
}

/** How earlier ones came out. */
export function score({ score: card }: ForecastView): string {
  return card ? `80 % band hit ${card.hits} of ${card.forecasts}.` : ''
}
