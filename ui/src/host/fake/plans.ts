// Windows, forecasts, alerts, tiers and settings of the made-up application.

import type { ProtectionView } from '../../bindings/ProtectionView'
import type { AlertView } from '../../bindings/AlertView'
import type { FactsView } from '../../bindings/FactsView'
import type { ForecastView } from '../../bindings/ForecastView'
import type { PurchaseView } from '../../bindings/PurchaseView'
import type { RulesView } from '../../bindings/RulesView'
import type { TiersView } from '../../bindings/TiersView'
import type { WhatIfView } from '../../bindings/WhatIfView'
import type { WindowView } from '../../bindings/WindowView'
import { dayAfter, dayOf, weekTime } from '../../zone'
import { type Books, iso, within } from './books'
import { DAY_MS, spent, startOf, ZONE } from './series'

export interface Turn {
  since: number
  resets: number
}

export function turns(now: number): { week: Turn; day: Turn; month: Turn } {
  const monday = Math.floor((now - 4 * DAY_MS) / (7 * DAY_MS)) * 7 * DAY_MS + 4 * DAY_MS
  const today = dayOf(now, ZONE)
  const month = `${today.slice(0, 7)}-01`
  const next = dayAfter(month, 31).slice(0, 7)
  return {
    week: { since: monday, resets: monday + 7 * DAY_MS },
    day: { since: startOf(today, ZONE), resets: startOf(dayAfter(today, 1), ZONE) },
    month: { since: startOf(month, ZONE), resets: startOf(`${next}-01`, ZONE) },
  }
}

const WEEK_USD = 110
const DAY_USD = 25
const usd = (amount: number) => Math.max(0, amount).toFixed(9)

export interface Spent {
  today: number
  week: number
  month: number
}

export function sums(books: Books, now: number): Spent {
  const { day, week, month } = turns(now)
  const since = (turn: Turn) => spent(within(books, turn.since, now))
  return { today: since(day), week: since(week), month: since(month) }
}

/** In an emergency nearly all of the week is used. */
const weekLimit = (sum: Spent, isEmergency: boolean) => (isEmergency ? sum.week / 0.953 : WEEK_USD)

export function windows(sum: Spent, isEmergency: boolean, now: number): WindowView[] {
  const { week, day } = turns(now)
  const one = (name: string, upstream: string | null, scope: string | null, used: number, limit: number, resets: number): WindowView => ({
    name, upstream, scope, unit: 'usd', used: usd(used), reserved: usd(0.42), limit: usd(limit), resets_at: iso(resets), hard: false,
  })
  return [
    one('week', 'anthropic', null, sum.week, weekLimit(sum, isEmergency), week.resets),
    one('machine day', null, 'machine', sum.today, DAY_USD, day.resets),
    one('client:nightly month', null, 'client:nightly', sum.month * 0.11, isEmergency ? (sum.month * 0.11) / 0.84 : 60, turns(now).month.resets),
  ]
}

export function forecasts(sum: Spent, isEmergency: boolean, now: number): ForecastView[] {
  const { week, day, month } = turns(now)
  const [used, limit] = [sum.week, weekLimit(sum, isEmergency)]
  const left = (week.resets - now) / (week.resets - week.since)
  const score = { forecasts: 8, hits: 7, mae_hours: 5.1, crps_hours: 3.4, brier: 0.06, width_hours: 14, skill_straight_line: 0.38, skill_seasonal_naive: 0.17 }
  const spread = (middle: number, width: number) => ({ p10: usd(middle - width), p50: usd(middle), p90: usd(middle + width * 1.2) })
  const none = { p10: null, p50: null, p90: null }
  const total = isEmergency ? spread(used + 60 * left, 18 * left) : spread(used + 62 * left + 10, 24 * left + 4)
  const number = (amount: string | number) => Number(amount)
  const out = [0.03, 0.06, 0.12].map((part) => iso(now + part * (week.resets - now)))
  const rest = { limit_since: null, informative: true, basis: '14 weeks of hours', unit: 'usd', exchange: null }
  return [
    {
      ...rest, window: 'week', upstream: 'anthropic', scope: null, since: iso(week.since), used: usd(used), limit: usd(limit), resets_at: iso(week.resets), total,
      p_runs_out: isEmergency ? 0.97 : 0.07,
      runs_out: isEmergency ? { p10: out[0] ?? null, p50: out[1] ?? null, p90: out[2] ?? null } : none,
      left_at_reset: { p10: usd(limit - number(total.p90)), p50: usd(limit - number(total.p50)), p90: usd(limit - number(total.p10)) },
      text: isEmergency ? `runs out ${weekTime(out[1] ?? '', ZONE)} (${ZONE})` : 'probably lasts (93 %)',
      score,
    },
    {
      ...rest, window: 'day', upstream: null, scope: 'machine', since: iso(day.since), used: usd(sum.today), limit: usd(DAY_USD), resets_at: iso(day.resets),
      p_runs_out: 0.02, runs_out: none, total: spread(sum.today + 6, 3), left_at_reset: spread(DAY_USD - sum.today - 6, 3), text: 'probably lasts (98 %)',
      score: { ...score, forecasts: 21, hits: 17, mae_hours: 2.2, skill_straight_line: 0.22, skill_seasonal_naive: 0.09 },
    },
    { ...rest, window: 'spend day', upstream: null, scope: null, since: iso(day.since), used: usd(sum.today), limit: null, resets_at: iso(day.resets), p_runs_out: null, runs_out: none, left_at_reset: null, total: spread(sum.today + 6, 3), text: 'has no limit', score: null },
    { ...rest, window: 'spend week', upstream: null, scope: null, since: iso(week.since), used: usd(sum.week), limit: null, resets_at: iso(week.resets), p_runs_out: null, runs_out: none, left_at_reset: null, total, text: 'has no limit', score: null },
    { ...rest, window: 'spend month', upstream: null, scope: null, since: iso(month.since), used: usd(sum.month), limit: null, resets_at: iso(month.resets), p_runs_out: null, runs_out: none, left_at_reset: null, total: spread(sum.month * 1.16 + 8, 24), text: 'has no limit', score: null },
  ]
}

/** Without a limit, and before there is a week of hours to go by. */
export function early(forecasts: ForecastView[]): ForecastView[] {
  const none = { p10: null, p50: null, p90: null }
  return forecasts.filter((one) => one.limit === null).map((one) => ({ ...one, informative: false, total: none, basis: '1 hour of history', text: 'too early to tell' }))
}

/** Each change takes a tenth. */
export function whatIf(forecasts: ForecastView[], changes: string[]): WhatIfView[] {
  if (changes.some((one) => one.startsWith('move') && !one.includes('claude-'))) throw 'that model has no price: `tidegate price list` shows the models that have one'
  const rest = 0.9 ** changes.length
  const less = (amount: string | number | null) => usd(Number(amount) * rest)
  return forecasts.map((before) => ({
    before,
    after: { ...before, p_runs_out: before.p_runs_out && before.p_runs_out * rest, total: { p10: less(before.total.p10), p50: less(before.total.p50), p90: less(before.total.p90) } },
  }))
}

export function alerts(isEmergency: boolean, now: number): AlertView[] {
  const ago = (minutes: number) => iso(now - minutes * 60_000)
  const base = { channels: ['desktop', 'ops'], resets_at: iso(turns(now).week.resets), snoozed_until: null, held: false, action: null }
  const calm: AlertView[] = [
    { ...base, alert_id: '01JDALERT0000000000000003', rule: 'tokens', scope: 'sonnet-4 input_tokens', threshold: '0.8', value: '0.94', severity: 'warning', message: 'sonnet-4 input_tokens is 94.0 % full, and calls have waited 71 s for it; background can wait', crossed_at: ago(12), resolved_at: null },
    { ...base, alert_id: '01JDALERT0000000000000002', rule: 'cost_per_call', scope: 'client:claude-code', threshold: '2', value: '2.3', severity: 'warning', message: 'a call of client "claude-code" costs 2.3 times what it used to', crossed_at: ago(190), resolved_at: null, channels: ['desktop'] },
    { ...base, alert_id: '01JDALERT0000000000000006', rule: 'budget', scope: 'client:nightly month', threshold: '0.8', value: '0.84', severity: 'warning', message: '84 % of the month’s budget of client "nightly" is spent', crossed_at: ago(320), resolved_at: null },
    { ...base, alert_id: '01JDALERT0000000000000005', rule: 'runaway', scope: 'session:9f8e7d6c', threshold: '100', value: '104', severity: 'critical', message: 'session 9f8e7d6c has made 104 calls in a row, each longer than the last', crossed_at: ago(410), resolved_at: null, action: 'pause_session:9f8e7d6c' },
    { ...base, alert_id: '01JDALERT0000000000000001', rule: 'breaker', scope: 'upstream:anthropic', threshold: '1', value: '1', severity: 'critical', message: 'upstream "anthropic" fails calls, and its breaker is open', crossed_at: ago(2_900), resolved_at: ago(2_893) },
  ]
  const week: AlertView = { ...base, alert_id: '01JDALERT0000000000000004', rule: 'emergency', scope: 'machine', threshold: '1', value: '1', severity: 'emergency', message: '95.3 % of the week of upstream "anthropic" is used: only critical calls spend the rest', crossed_at: ago(3), resolved_at: null }
  return isEmergency ? [week, ...calm] : calm
}

export function rules(): RulesView {
  const rule = (name: string, metric: string, marks: [string, string][], cooldown_s: number | null = null) => ({
    name, metric, cooldown_s, channels: ['ops'], quiet_hours: name === 'daily_spend' ? '22:00-07:00' : null,
    thresholds: marks.map(([at, severity]) => ({ at, severity })),
  })
  const two: [string, string][] = [['0.8', 'warning'], ['0.9', 'critical']]
  return {
    rules: [
      rule('window', 'window.*.used', two),
      rule('budget', 'budget.*', two),
      rule('tokens', 'tokens.*', two, 21_600),
      rule('daily_spend', 'spend.day', [['50', 'warning']]),
      rule('forecast', 'forecast.*.p_runs_out', [['0.5', 'warning']]),
      rule('burn', 'burn.*', [['14.4', 'warning']], 21_600),
      rule('cost_per_call', 'cost_per_call', [['2', 'warning']], 86_400),
      rule('runaway', 'runaway', [['100', 'critical']], 3_600),
      rule('breaker', 'breaker', [['1', 'critical']]),
      rule('shop', 'spend.month.project:web', [['300', 'warning'], ['400', 'critical']]),
    ],
    channels: [{ name: 'desktop', kind: 'desktop' }, { name: 'ops', kind: 'slack' }],
  }
}

const SOURCE = 'https://platform.claude.com/docs/en/api/rate-limits'

export function tiers(sum: Spent, purchases: PurchaseView[], reload: [string, string] | null, now: number): TiersView {
  const bought = purchases.reduce((all, one) => all + Number(one.usd), 0)
  const tier = (name: string, deposit: string | null, cap: string | null, requests: number | null, input: number | null, output: number | null) => ({
    name, deposit_usd: deposit, monthly_cap_usd: cap, requests, input_tokens: input, output_tokens: output,
  })
  return {
    accounts: [
      {
        upstream: 'anthropic', scheme: '2025-09', tier: '2', purchases, bought_usd: usd(bought), balance_usd: usd(bought - sum.month * 0.3), reload_below_usd: reload?.[0] ?? null, reload_usd: reload?.[1] ?? null,
        a_day_usd: usd(sum.month / 27), month_usd: usd(sum.month), monthly_cap_usd: usd(500), cap_near_at: null, cap_hit_at: null, purchase_at: iso(now + 6 * DAY_MS),
        next_tier: '3', next_missing_usd: usd(200 - bought), next_at: iso(now + 19 * DAY_MS),
        waited_week_ms: 4_260_000, waited_week_next_ms: 38_000,
        halves: [{ group: 'sonnet-4', resource: 'input_tokens', limit: 450_000, peak: 0.46, half_on: iso(now + 8 * DAY_MS).slice(0, 10), ask_from: iso(now + 8 * DAY_MS).slice(0, 10) }],
      },
    ],
    schemes: [
      { name: '2025-09', valid_from: '2025-09-29T00:00:00Z', source: SOURCE, tiers: [tier('1', '5', '100', 50, 30_000, 8_000), tier('2', '40', '500', 1_000, 450_000, 90_000), tier('3', '200', '1000', 2_000, 800_000, 160_000), tier('4', '400', '5000', 4_000, 2_000_000, 400_000)] },
      { name: '2026-06', valid_from: '2026-06-15T00:00:00Z', source: SOURCE, tiers: [tier('evaluation', null, null, 5, 10_000, 4_000), tier('start', null, '500', 1_000, 450_000, 90_000), tier('build', null, '1000', 2_000, 800_000, 160_000), tier('scale', null, '200000', 4_000, 2_000_000, 400_000)] },
    ],
  }
}

export function facts(): FactsView {
  return {
    data_dir: '/home/mira/.local/share/tidegate', timezone: ZONE, retention_days: 400, durability: 'power', cache: false, metrics: true, otlp: '127.0.0.1:4318', currency: null,
    upstreams: [{ name: 'anthropic', kind: 'anthropic', base_url: 'https://api.anthropic.com', key: 'keychain:anthropic', admin_key: null, tier: '2' }],
    leaves: [
      { what: 'calls of your programs, as they made them, with your key', to: 'https://api.anthropic.com', when: 'when they call' },
      { what: 'alerts, one sentence each', to: 'channel ops (slack)', when: 'when they cross or end, and when you test' },
      { what: 'a question for the status page', to: 'https://status.claude.com', when: 'every 5 min' },
    ],
  }
}

export function protections(): ProtectionView[] {
  return [
    { name: 'budget', on: false, missed: true, says: 'no call is refused for what all calls cost together: your dearest of the last 30 days was 2026-11-17, at $16.66', how: "tidegate settings set 'budget[scope=machine].daily_usd' 50" },
    { name: 'fallback', on: true, missed: false, says: 'where an upstream fails, calls go elsewhere', how: '' },
    { name: 'channel', on: true, missed: false, says: 'alerts reach you away from this machine too', how: '' },
    { name: 'limits', on: false, missed: false, says: 'limits are learned from the first answers on; no rate limit error reached a program in the last 30 days', how: 'set scheme and tier, or admin_key, of the [[upstream]] in the settings' },
  ]
}
