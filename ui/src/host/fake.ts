// An application that is not there: for work on the UI and for its tests. `?fake=` chooses what it pretends.

import type { BreakerView } from '../bindings/BreakerView'
import type { EmergencyView } from '../bindings/EmergencyView'
import type { LimitView } from '../bindings/LimitView'
import type { LiveCallView } from '../bindings/LiveCallView'
import type { ClientView } from '../bindings/ClientView'
import type { StatusView } from '../bindings/StatusView'
import type { UpstreamPageView } from '../bindings/UpstreamPageView'
import type { Class, Host } from '../host'

export type Pretence = 'busy' | 'empty' | 'first' | 'shut' | 'lost' | 'hostile' | 'quiet' | 'emergency'

const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>\u202e{{1}}'
const TICK_MS = 250

export function fakeHost(pretence: string): Host {
  const world = new World(pretence as Pretence)
  return {
    watch(seen, lost) {
      seen(world.status())
      const timer = setInterval(() => {
        if (pretence === 'lost') return lost('The gateway does not answer.')
        world.tick()
        seen(world.status())
      }, TICK_MS)
      return () => clearInterval(timer)
    },
    clients: () => Promise.resolve(world.clients),
    addClient: (name, priority) => world.add(name, priority),
    revokeClient: (name) => Promise.resolve(void (world.clients = world.clients.filter((one) => one.name !== name))),
    pause: (which) => Promise.resolve(void world.paused.add(which)),
    resume: (which) => Promise.resolve(void world.paused.delete(which)),
    enterEmergency: () => Promise.resolve(world.emergency(true)),
    leaveEmergency: () => Promise.resolve(world.emergency(false)),
    setup: {
      startDemo: () => Promise.resolve(world.demo()),
      stopDemo: () => Promise.resolve(void (world.state = 'open')),
      setKey: (secret) => (secret.startsWith('sk-') ? Promise.resolve(world.connect()) : Promise.reject('a key begins with sk-ant-; copy it from console.anthropic.com')),
      listenElsewhere: () => Promise.resolve((world.address = 'http://127.0.0.1:43210')),
    },
  }
}

class World {
  state = 'open'
  address: string | null = 'http://127.0.0.1:8432'
  upstreams = ['anthropic']
  clients: ClientView[] = [
    client('ci', 'normal'),
    client('nightly', 'background'),
  ]
  paused = new Set<Class>()
  calls: LiveCallView[] = []
  spent = 18.42
  ticks = 0
  traffic = true
  emergencySince: string | null = null

  constructor(readonly pretence: Pretence) {
    if (pretence === 'first') this.upstreams = []
    if (pretence === 'shut') (this.address = null), (this.state = 'stopped')
    if (['first', 'empty', 'shut'].includes(pretence)) this.spent = 0
    if (pretence === 'emergency') this.emergency(true)
    this.traffic = ['busy', 'hostile', 'lost', 'quiet', 'emergency'].includes(pretence)
    if (!this.traffic) this.clients = []
    if (pretence === 'hostile') this.clients = [client(HOSTILE, HOSTILE)]
    if (this.traffic) for (let n = 0; n < 60; n++) this.tick()
  }

  emergency(on: boolean) {
    this.emergencySince = on ? new Date().toISOString() : null
  }
  demo() {
    this.state = 'demo'
    this.upstreams = ['simulator']
    this.traffic = true
  }
  connect() {
    this.state = 'open'
    this.upstreams = ['anthropic']
    this.address ??= 'http://127.0.0.1:8432'
  }
  add(name: string, priority: Class): Promise<string> {
    if (this.clients.some((one) => one.name === name)) return Promise.reject(`there is already a client named ${name}; choose another name`)
    this.clients = [...this.clients, client(name, priority)]
    return Promise.resolve(`tg-${'0123456789abcdef'.repeat(4)}`)
  }

  tick() {
    if (!this.traffic) return
    this.ticks++
    if (this.ticks % 3 === 0) this.calls = [this.call(), ...this.calls].slice(0, 50)
    this.calls = this.calls.map((call, at) => this.grown(call, at))
  }
  private breakers(hostile: string | null): BreakerView[] {
    if (this.pretence !== 'emergency' && !hostile) return []
    const until = new Date(Date.now() + 180_000).toISOString()
    return [{ upstream: hostile ?? 'anthropic', group: hostile ?? 'sonnet-4', state: hostile ?? 'open', until, since: until }]
  }
  private emergencyView(hostile: string | null): EmergencyView {
    const since = hostile ?? this.emergencySince
    return {
      active: since !== null,
      since,
      reason: since && (hostile ?? '95.3 % of the window "week" of upstream "anthropic" is used'),
      causes: since ? [hostile ?? 'week'] : [],
      calls_held: since ? 6 : 0,
      spent_usd: since ? '3.210000000' : '0.000000000',
      saved_usd: '0.000000000',
      contacts: [hostile ?? 'ops: +1 555 0100'],
      pages: [hostile ?? 'https://status.claude.com'],
      last: null,
    }
  }
  private call(): LiveCallView {
    const n = this.ticks / 3
    const hostile = this.pretence === 'hostile' ? HOSTILE : null
    return {
      call_id: hostile ? `${HOSTILE}${n}` : `01JD${String(n).padStart(8, '0')}`,
      started_at: new Date().toISOString(),
      client: hostile ?? (['ci', 'claude-code', 'nightly', 'chat'][n % 4] as string),
      class: hostile ?? (['normal', 'normal', 'background', 'critical'][n % 4] as string),
      model: hostile ?? (['claude-sonnet-4-5-20250929', 'claude-haiku-4-5', 'claude-opus-4-1'][n % 3] as string),
      state: hostile ?? 'waiting',
      input_tokens: 0,
      output_tokens: 0,
      cost_usd: null,
      waited_ms: 0,
      total_ms: 0,
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

  status(): StatusView {
    const hostile = this.pretence === 'hostile' ? HOSTILE : null
    const none = { waiting: 0, running: 0, oldest_ms: 0, eta_ms: 0, paused: false }
    const busy = this.traffic && this.pretence !== 'quiet'
    const waits = busy ? 3 + Math.round(2 * Math.sin(this.ticks / 9)) : 0
    return {
      version: '0.1.0',
      at: new Date().toISOString(),
      gateway: {
        address: this.address,
        state: this.state,
        trouble: hostile ?? (this.address ? null : 'Port 8432 is taken by another program (python3, pid 4711).'),
        upstreams: this.upstreams,
        timezone: hostile ?? 'Europe/Berlin',
      },
      limits: this.traffic ? limits(this.ticks, this.pretence, hostile) : [],
      windows: [],
      queue: {
        critical: { ...none, running: busy ? 1 : 0 },
        normal: { ...none, waiting: waits, running: busy ? 2 : 0, oldest_ms: waits * 700, eta_ms: waits * 1_250 },
        background: { ...none, waiting: busy ? 6 : 0, oldest_ms: busy ? 21_400 : 0, eta_ms: this.paused.has('background') ? null : busy ? 14_000 : 0, paused: this.paused.has('background') },
      },
      spend: {
        today_usd: this.spent.toFixed(9),
        week_usd: (this.spent * 7).toFixed(9),
        month_usd: (this.spent * 17).toFixed(9),
        unpriced_calls: hostile ? 2 : 0,
      },
      forecasts: [],
      breakers: this.breakers(hostile),
      emergency: this.emergencyView(hostile),
      upstream_page: this.pretence === 'emergency' || hostile ? page(hostile) : null,
      outside: [],
      subscription: null,
      reservations: [],
      alerts: [],
      estimates: [],
      cache: { hits: 0, misses: 0, calls_avoided: 0, hit_rate: null, saved_usd: '0' },
      success: { days: 0, rate_limit_errors_seen: 0, fallbacks_served: 0, alerts_before_tier_change: 0, longest_recovery_s: 0 },
      cut_offs: { max_tokens: 0, cut: 0, silent: 0, error_after_start: 0 },
      live: this.calls,
    }
  }
}

function page(hostile: string | null): UpstreamPageView {
  return {
    url: 'https://status.claude.com',
    indicator: hostile ?? 'none',
    description: hostile ?? 'All Systems Operational',
    incidents: [{ name: hostile ?? 'Elevated errors', status: hostile ?? 'investigating', shortlink: null }],
    checked_at: new Date().toISOString(),
    error: hostile,
  }
}

function client(name: string, priority: string): ClientView {
  const none = { person: null, project: null, daily_usd: null, weekly_usd: null, monthly_usd: null, max_share: null }
  return { name, priority, weight: 1, ...none }
}

function limits(ticks: number, pretence: Pretence, hostile: string | null): LimitView[] {
  const swing = (share: number) => (pretence === 'quiet' ? 0.3 : share + 0.09 * Math.sin(ticks / 11))
  const one = (group: string, resource: string, limit: number, guard: number, share: number, source: string): LimitView => ({
    upstream: 'anthropic',
    group: hostile ?? group,
    resource: hostile ? `${HOSTILE}${resource}${group}` : resource,
    limit,
    guard,
    level: Math.round(guard * (1 - swing(share))),
    source: hostile ?? source,
    observed_at: source === 'headers' ? new Date(Date.now() - 4_000).toISOString() : null,
  })
  return [
    one('haiku-4-5', 'requests', 50, 48, 0.45, 'headers'),
    one('sonnet-4', 'input_tokens', 30_000, 28_000, 0.89, 'headers'),
    one('sonnet-4', 'requests', 50, 48, 0.78, 'headers'),
    one('sonnet-4', 'output_tokens', 8_000, 8_000, 0.15, 'tier'),
    one('opus-4', 'requests', 50, 48, 0.12, 'settings'),
  ]
}
