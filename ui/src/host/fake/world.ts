// The made-up application as it stands now: its queue moves, and what is asked of it changes it.

import type { AlertView } from '../../bindings/AlertView'
import type { BreakerView } from '../../bindings/BreakerView'
import type { ClientView } from '../../bindings/ClientView'
import type { CourseView } from '../../bindings/CourseView'
import type { ConnectedKeyView } from '../../bindings/ConnectedKeyView'
import type { EmergencyView } from '../../bindings/EmergencyView'
import type { ForecastView } from '../../bindings/ForecastView'
import type { LimitView } from '../../bindings/LimitView'
import type { LiveCallView } from '../../bindings/LiveCallView'
import type { PurchaseView } from '../../bindings/PurchaseView'
import type { ReservationView } from '../../bindings/ReservationView'
import type { StatusView } from '../../bindings/StatusView'
import type { UpstreamPageView } from '../../bindings/UpstreamPageView'
import type { WaitingView } from '../../bindings/WaitingView'
import type { Pretence } from '../fake'
import { type Books, course, firstHour, iso, open } from './books'
import { Here, verdict } from './here'
import * as plans from './plans'
import { CLIENTS, MODELS, ZONE } from './series'
import { SettingsFile } from './settings'

const TICK_MS = 250
const TRAFFIC: Pretence[] = ['busy', 'hostile', 'lost', 'quiet', 'emergency', 'demo', 'many', 'broken', 'young']

export class World {
  state = 'open'
  address: string | null = 'http://127.0.0.1:8432'
  upstreams = ['anthropic']
  books: Books = []
  clients: ClientView[] = []
  alerts: AlertView[] = []
  purchases: PurchaseView[] = []
  bought = 0
  reload: [string, string] | null = null
  reservations: ReservationView[] = []
  paused = new Set<string>()
  dropped = new Set<string>()
  raised: string[] = []
  calls: LiveCallView[] = []
  settings = new SettingsFile()
  ticks = 0
  traffic = false
  emergencySince: string | null = null
  /** What lies on the machine beside the books. */
  here = new Here()
  /** Beyond what the books have. */
  spent = 0

  constructor(readonly pretence: Pretence) {
    if (pretence === 'first') this.upstreams = []
    if (pretence === 'empty') this.here.sessions = 0
    if (pretence === 'shut') (this.address = null), (this.state = 'stopped')
    if (pretence === 'demo') (this.state = 'demo'), (this.upstreams = ['simulator'])
    if (TRAFFIC.includes(pretence)) this.come()
    if (pretence === 'emergency') this.emergency(true)
  }

  /** Traffic, and what comes of it. */
  private come() {
    this.traffic = true
    this.books = this.pretence === 'young' ? firstHour() : open()
    if (this.pretence !== 'quiet') this.paused.add('session:0a1b2c3d')
    this.clients = CLIENTS.map((one) => client(one.name, one.class, { person: one.person || null, project: one.project, weight: one.name === 'chat' ? 3 : 1, daily_usd: one.name === 'ci' ? '20.000000000' : null, monthly_usd: one.name === 'nightly' ? '60.000000000' : null, last_call_at: iso(Date.now() - 3_600_000) }))
    this.alerts = plans.alerts(this.pretence === 'emergency', Date.now())
    this.buy('40', iso(Date.now() - 51 * 86_400_000))
    this.buy('75', iso(Date.now() - 16 * 86_400_000))
    this.reservations = [{ id: '01JDRESERVE00000000000001', client: 'ci', upstream: 'anthropic', model: 'claude-sonnet-4-5-20250929', calls: 40, used: 13, input_tokens: 160_000, output_tokens: 40_000, starts_at: iso(Date.now() - 400_000), expires_at: iso(Date.now() + 800_000) }]
    for (let n = 0; n < 60; n++) this.tick()
  }

  demo() {
    this.state = 'demo'
    this.upstreams = ['simulator']
    this.come()
  }
  connect(secret: string, anyway: boolean): ConnectedKeyView {
    const test = verdict(secret)
    const kept = anyway || test.verdict === 'taken'
    if (kept) {
      this.state = 'open'
      this.upstreams = ['anthropic']
      this.address ??= 'http://127.0.0.1:8432'
    }
    return { kept, test }
  }
  emergency(on: boolean) {
    this.emergencySince = on ? iso(Date.now()) : null
  }
  add(name: string, change: object): string {
    if (this.clients.some((one) => one.name === name)) throw `there is already a client named ${name}; choose another name`
    this.clients = [...this.clients, client(name, 'normal', terms(change))]
    return `tg-${'0123456789abcdef'.repeat(4)}`
  }
  set(name: string, change: object) {
    const changed = terms(change)
    this.clients = this.clients.map((one) => (one.name === name ? { ...one, ...changed } : one))
  }
  buy(usd: string, date: string | null) {
    if (!(Number(usd) > 0)) throw 'a purchase is more than $0: say what was paid without tax, such as 40'
    if (Number(usd) > 1_000_000) throw 'a purchase is $1,000,000 at most: look at the amount again'
    const bought = { id: String(++this.bought), upstream: 'anthropic', at: date ?? iso(Date.now()), usd: Number(usd).toFixed(9) }
    this.purchases = [...this.purchases, bought].sort((one, other) => one.at.localeCompare(other.at))
    return [bought]
  }
  giveBack(id: string) {
    const [back] = this.purchases.filter((one) => one.id === id)
    if (!back) throw `there is no purchase "${id}": \`tidegate tier purchase list\` shows those there are`
    this.purchases = this.purchases.filter((one) => one !== back)
    return [back]
  }
  snooze(id: string) {
    this.alerts = this.alerts.map((one) => (one.alert_id === id ? { ...one, snoozed_until: one.resets_at } : one))
  }
  raiseCap(id: string) {
    const [, name, period] = /^client:(\S+) (\w+)$/.exec(this.alerts.find((one) => one.alert_id === id)?.scope ?? '') ?? []
    const key = ({ day: 'daily_usd', week: 'weekly_usd', month: 'monthly_usd' } as const)[period ?? '']
    this.clients = this.clients.map((one) => (key && one.name === name ? { ...one, [key]: (1.5 * Number(one[key])).toFixed(9) } : one))
  }
  drop(call: string) {
    this.dropped.add(call)
    this.calls = this.calls.map((one) => (one.call_id === call ? { ...one, state: 'refused' } : one))
  }
  raise(call: string) {
    this.raised = [call, ...this.raised]
  }
  sums() {
    const sums = plans.sums(this.books, Date.now())
    return { today: sums.today + this.spent, week: sums.week + this.spent, month: sums.month + this.spent }
  }
  course(window: string): CourseView {
    const turns = plans.turns(Date.now())
    const sums = this.sums()
    if (window === 'week') return course(this.books, turns.week.since, turns.week.resets, sums.week)
    if (window.endsWith('day')) return course(this.books, turns.day.since, turns.day.resets, sums.today)
    return course(this.books, turns.month.since, turns.month.resets, sums.month)
  }

  tick() {
    if (!this.traffic) return
    this.ticks++
    if (this.ticks % 3 === 0) this.calls = [this.call(), ...this.calls].slice(0, 50)
    this.calls = this.calls.map((call, at) => this.grown(call, at))
  }
  private call(): LiveCallView {
    const n = this.ticks / 3
    const client = CLIENTS[n % 4] ?? CLIENTS[0]
    return {
      call_id: `01JD${String(n).padStart(22, '0')}`, started_at: iso(Date.now()), client: client.name, class: client.class,
      model: MODELS[n % 3] as string, state: 'waiting', input_tokens: 0, output_tokens: 0, cost_usd: null, waited_ms: 0, total_ms: 0,
    }
  }
  private grown(call: LiveCallView, at: number): LiveCallView {
    if (call.state === 'waiting') return { ...call, waited_ms: call.waited_ms + TICK_MS, state: at > 2 ? 'running' : 'waiting', input_tokens: 3_120 }
    if (call.state !== 'running') return call
    const grown = { ...call, output_tokens: call.output_tokens + 41, total_ms: call.total_ms + TICK_MS }
    if (at < 6) return grown
    this.spent += 0.0211
    const n = Number(call.call_id.slice(4))
    return { ...grown, state: n % 11 === 5 ? 'failed' : n % 17 === 3 ? 'cancelled' : 'completed', cost_usd: '0.021103000' }
  }

  private counts() {
    const busy = this.traffic && this.pretence !== 'quiet'
    return { critical: 0, normal: busy ? 3 + Math.round(2 * Math.sin(this.ticks / 9)) : 0, background: busy ? (this.pretence === 'many' ? 120 : 6) : 0 }
  }
  /** The longest first. */
  waiting(): WaitingView[] {
    const counts = this.counts()
    const one = (which: 'normal' | 'background', n: number): WaitingView => ({
      call_id: `01JE${which === 'normal' ? 'N' : 'B'}${String(n).padStart(21, '0')}`, client: which === 'normal' ? (n === 1 ? 'chat' : 'claude-code') : 'nightly', input_tokens: 1_200 + 640 * n, tenant: null, class: which,
      model: which === 'normal' ? (MODELS[0] as string) : (MODELS[1] as string), upstream: 'anthropic',
      waited_ms: which === 'normal' ? 700 * (counts.normal - n) : 3_500 * (counts.background - n), eta_ms: this.paused.has(which) ? null : which === 'normal' ? 1_250 * (n + 1) : 2_300 * (n + 1),
    })
    const all = (['background', 'normal'] as const).flatMap((which) => Array.from({ length: counts[which] }, (_, n) => one(which, n)))
    const place = (call: WaitingView) => this.raised.indexOf(call.call_id)
    return all.filter((call) => !this.dropped.has(call.call_id)).sort((a, b) => place(b) - place(a))
  }

  status(): StatusView {
    const now = Date.now()
    const none = { waiting: 0, running: 0, oldest_ms: 0, eta_ms: 0, paused: false }
    const counts = this.counts()
    const busy = counts.background > 0
    const sums = this.sums()
    const isEmergency = this.pretence === 'emergency'
    const queue = (which: 'critical' | 'normal' | 'background', running: number, oldest: number, eta: number) => {
      const paused = this.paused.has(which)
      return { ...none, waiting: counts[which], running: busy ? running : 0, oldest_ms: oldest, eta_ms: paused ? null : eta, paused }
    }
    return {
      version: '0.1.0',
      at: iso(now),
      gateway: { address: this.address, state: this.state, trouble: this.trouble(), upstreams: this.upstreams, timezone: ZONE },
      settings: this.settings.state,
      limits: this.traffic ? limits(this.ticks, this.pretence) : [],
      windows: this.traffic && this.pretence !== 'young' ? plans.windows(sums, isEmergency, now) : [],
      queue: { critical: queue('critical', 1, 0, 0), normal: queue('normal', 2, counts.normal * 700, counts.normal * 1_250), background: queue('background', 0, busy ? 21_400 : 0, busy ? 14_000 : 0) },
      spend: { today_usd: sums.today.toFixed(9), week_usd: sums.week.toFixed(9), month_usd: sums.month.toFixed(9), unpriced_calls: 0 },
      forecasts: this.forecasts(now),
      breakers: this.breakers(now),
      emergency: this.emergencyView(),
      upstream_page: isEmergency || this.pretence === 'hostile' ? page(now) : null,
      outside: this.traffic ? [{ upstream: 'anthropic', group: 'sonnet-4', resource: 'input_tokens', share: 0.22 }] : [],
      subscription: null,
      reservations: this.reservations,
      paused: [...this.paused].filter((scope) => scope.includes(':')).map((scope) => ({ scope, since: iso(now - 240_000), waiting: 1 })),
      alerts: this.alerts,
      estimates: [],
      cache: { hits: 0, misses: 0, calls_avoided: 0, hit_rate: null, saved_usd: '0' },
      success: this.traffic ? { days: 30, rate_limit_errors_seen: 0, fallbacks_served: 17, alerts_before_tier_change: 1, longest_recovery_s: 38 } : { days: 0, rate_limit_errors_seen: 0, fallbacks_served: 0, alerts_before_tier_change: 0, longest_recovery_s: 0 },
      cut_offs: { max_tokens: 2, cut: 0, silent: 0, error_after_start: 0 },
      live: this.calls,
    }
  }
  private forecasts(now: number): ForecastView[] {
    if (!this.traffic || this.pretence === 'quiet') return []
    const all = plans.forecasts(this.sums(), this.pretence === 'emergency', now)
    return this.pretence === 'young' ? plans.early(all) : all
  }
  private trouble(): string | null {
    if (!this.address) return 'Port 8432 is taken by another program (python3, pid 4711).'
    return this.upstreams.length > 0 ? null : 'the settings name no upstream that can be called: calls get 503 until there is an [[upstream]]'
  }
  private breakers(now: number): BreakerView[] {
    if (this.pretence !== 'emergency' && this.pretence !== 'hostile') return []
    return [{ upstream: 'anthropic', group: 'sonnet-4', state: 'open', until: iso(now + 180_000), since: iso(now - 60_000) }]
  }
  private emergencyView(): EmergencyView {
    const since = this.emergencySince
    return {
      active: since !== null, since, reason: since && '95.3 % of the window "week" of upstream "anthropic" is used', causes: since ? ['week'] : [], calls_held: since ? 6 : 0,
      spent_usd: since ? '3.210000000' : '0.000000000', saved_usd: '0.000000000', contacts: ['ops: +1 555 0100'], pages: ['https://status.claude.com'], last: null,
    }
  }
}

function page(now: number): UpstreamPageView {
  return { url: 'https://status.claude.com', indicator: 'none', description: 'All Systems Operational', incidents: [{ name: 'Elevated errors', status: 'investigating', shortlink: null }], checked_at: iso(now), error: null }
}

/** What is empty is taken away, and so is a share of 100. */
function terms(change: object): object {
  if (Number.isNaN(Number((change as { daily_usd?: string }).daily_usd ?? 0))) throw 'the amount is wrong: dollars such as 12.50, or none'
  return Object.fromEntries(Object.entries(change).map(([field, value]) => [field, value === '' || (field === 'max_share' && value === 100) ? null : value]))
}

function client(name: string, priority: string, more: object): ClientView {
  return { name, priority, weight: 1, person: null, project: null, daily_usd: null, weekly_usd: null, monthly_usd: null, max_share: null, last_call_at: null, ...more }
}

function limits(ticks: number, pretence: Pretence): LimitView[] {
  const swing = (share: number) => (pretence === 'quiet' ? 0.3 : share + 0.09 * Math.sin(ticks / 11))
  const one = (group: string, resource: string, limit: number, guard: number, share: number, source: string): LimitView => ({
    upstream: 'anthropic', group, resource, limit, guard, level: Math.round(guard * (1 - swing(share))), source,
    observed_at: source === 'headers' ? iso(Date.now() - 4_000) : null,
  })
  return [
    one('haiku-4-5', 'requests', 50, 48, 0.45, 'headers'),
    one('sonnet-4', 'input_tokens', 30_000, 28_000, 0.89, 'headers'),
    one('sonnet-4', 'requests', 50, 48, 0.78, 'headers'),
    one('sonnet-4', 'output_tokens', 8_000, 8_000, 0.15, 'tier'),
    one('opus-4', 'requests', 50, 48, 0.12, 'settings'),
  ]
}
