// The first line of the Overview: the one thing that matters now, in words.

import type { ForecastView } from './bindings/ForecastView'
import type { LimitView } from './bindings/LimitView'
import type { StatusView } from './bindings/StatusView'
import { binding, current, FULL_FROM, runsOut, share, words } from './forecast'
import { count, duration, group, percent, plural, sentence } from './format'

export type Tone = 'calm' | 'warn' | 'critical'

export interface Headline {
  title: string
  detail: string
  tone: Tone
}

export const WARN_FROM = 0.8
const USED_UP_FROM = 0.85

const RESOURCES: Record<string, string> = {
  requests: 'requests',
  input_tokens: 'input tokens',
  output_tokens: 'output tokens',
  tokens: 'tokens',
  concurrency: 'calls at once',
  priority_input_tokens: 'priority input tokens',
  priority_output_tokens: 'priority output tokens',
}

export function resource(limit: { resource: string }): string {
  return RESOURCES[limit.resource] ?? limit.resource
}

/** How much of what we allow ourselves is used, from 0; above 1 is a debt. */
export function used(limit: LimitView): number {
  return limit.guard > 0 ? Math.max(0, limit.guard - limit.level) / limit.guard : 1
}

export function bindingFirst(limits: LimitView[]): LimitView[] {
  return limits.toSorted((a, b) => used(b) - used(a) || name(a).localeCompare(name(b)))
}

export function name(limit: LimitView): string {
  return `${group(limit.group)} ${resource(limit)}`
}

/** A used-up minute heals within the minute: it is never critical. */
export function tone(share: number): Tone {
  return share >= WARN_FROM ? 'warn' : 'calm'
}

const CRITICAL_FROM = 0.95

/** Of a window or a budget, which heals in days. */
export function windowTone(share: number): Tone {
  if (share >= CRITICAL_FROM) return 'critical'
  return share >= FULL_FROM ? 'warn' : 'calm'
}

export function waiting(status: StatusView): number {
  const { critical, normal, background } = status.queue
  return critical.waiting + normal.waiting + background.waiting
}

export function running(status: StatusView): number {
  const { critical, normal, background } = status.queue
  return critical.running + normal.running + background.running
}

/** What can't go on, then an emergency, then the window or budget of which there is something to tell, then who waits, then what is fullest. */
export function headline(status: StatusView): Headline {
  return trouble(status) ?? crisis(status) ?? foretold(status) ?? queued(status) ?? quiet(status)
}

/** Who waits for what; nothing where nobody does. */
export function waits(status: StatusView): string {
  const queue = queued(status)
  return queue ? `${queue.title} ${queue.detail}`.trim() : ''
}

/** What is known too little of to be foretold is news once it is nearly full. */
function foretold(status: StatusView): Headline | null {
  const forecast = limited(status)
  if (!forecast || !(forecast.informative || share(forecast) >= WARN_FROM)) return null
  return { ...words(forecast, status), tone: forecastTone(forecast) }
}

/** The window or budget that binds. */
function limited(status: StatusView): ForecastView | undefined {
  const forecast = binding(current(status))
  return forecast && forecast.limit !== null ? forecast : undefined
}

/** How full it is, and whether it will last. */
export function forecastTone(forecast: ForecastView): Tone {
  const now = windowTone(share(forecast))
  return now === 'calm' && runsOut(forecast) ? 'warn' : now
}

function trouble(status: StatusView): Headline | null {
  const { address, trouble: cause } = status.gateway
  if (cause) return { title: sentence(cause), detail: address ? 'Until then calls are refused.' : 'No call gets through.', tone: 'critical' }
  if (!address) return { title: 'The gate is shut.', detail: 'Tidegate does not listen, so no call gets through.', tone: 'critical' }
  return null
}

function crisis(status: StatusView): Headline | null {
  const { active, causes, reason } = status.emergency
  if (!active) return null
  const left = foretold(status)
  return { title: `Emergency: ${rationed(causes)}.`, detail: left ? `${left.title} ${left.detail}` : reason ? sentence(reason) : '', tone: 'critical' }
}

/** What an emergency leaves to those that are not background calls. */
export function rationed(causes: string[]): string {
  return causes.includes('week') ? 'only critical calls spend what is left of the week' : 'normal calls go at half the pace'
}

function queued(status: StatusView): Headline | null {
  const waits = waiting(status)
  if (waits === 0) return null
  const held = status.queue.background
  if (held.paused && held.waiting === waits) {
    return {
      title: `${plural(waits, 'background call waits', 'background calls wait')}: you paused them.`,
      detail: 'Critical and normal calls pass as before.',
      tone: 'calm',
    }
  }
  const most = mostWaitedFor(status)
  const etas = Object.values(status.queue).map((one) => one.eta_ms)
  const clear = etas.includes(null) ? 0 : Math.max(...etas.map((eta) => eta ?? 0))
  const end = clear > 0 ? ` All of them will have left in about ${duration(clear)}.` : ''
  const wait = plural(waits, 'call waits', 'calls wait')
  if (!most) return { title: `${wait}.`, detail: end.trim(), tone: 'calm' }
  const { limit, calls, seen } = most
  const part = calls === seen ? '' : seen === waits ? `, ${count(calls)} of them` : ', above all'
  return { title: `${wait}${part} for ${name(limit)}.`, detail: `${pace(limit)}${end}`, tone: 'calm' }
}

/** The limit that holds back the most of those that wait, how many they are, and of how many it is seen: only the latest are. */
function mostWaitedFor({ live, limits }: StatusView): { limit: LimitView; calls: number; seen: number } | undefined {
  const models = live.filter((call) => call.state === 'waiting').map((call) => call.model)
  const held = new Map<LimitView, number>()
  for (const model of models) {
    const limit = holdsBack(model, limits)
    if (limit) held.set(limit, (held.get(limit) ?? 0) + 1)
  }
  const [most] = [...held].toSorted(([a, calls], [b, others]) => others - calls || used(b) - used(a))
  return most && { limit: most[0], calls: most[1], seen: models.length }
}

/** Of a model's limits the one that is used up, else the even pace of requests. */
function holdsBack(model: string, limits: LimitView[]): LimitView | undefined {
  const [fullest, ...others] = bindingFirst(limits.filter((limit) => isOf(limit.group, model)))
  if (!fullest || used(fullest) >= USED_UP_FROM) return fullest
  return [fullest, ...others].find((limit) => limit.resource === 'requests') ?? fullest
}

/** `sonnet-4`, or the patterns of a line of the settings: `claude-sonnet-*, claude-opus-*`. */
function isOf(group: string, model: string): boolean {
  const patterns = group.includes('*') ? group.split(', ') : [`*${group.replace('.', '-')}*`]
  return patterns.some((pattern) => matches(pattern, model))
}

/** `*` is any run of characters. */
function matches(pattern: string, model: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`).test(model)
}

function quiet(status: StatusView): Headline {
  const [binding] = bindingFirst(status.limits)
  const window = limited(status)
  if (window && share(window) > (binding ? used(binding) : 0)) return { ...words(window, status), tone: forecastTone(window) }
  if (!binding) {
    return { title: 'The gate is open.', detail: window ? words(window, status).title : 'No limit is known yet: the first answer will name them.', tone: 'calm' }
  }
  const full = used(binding)
  const detail = `Closest is ${name(binding)}: ${count(Math.max(0, binding.guard - binding.level))} of ${count(binding.guard)} a minute in use.`
  if (full < WARN_FROM) return { title: 'The gate is open. Nothing waits.', detail, tone: 'calm' }
  return { title: `${name(binding)} are ${percent(Math.min(1, full))} used. Nothing waits yet.`, detail, tone: tone(full) }
}

function pace(limit: LimitView): string {
  const amount = count(limit.guard)
  if (limit.resource === 'concurrency') return `${amount} may run at once.`
  if (limit.resource === 'requests') return `One leaves every ${duration(60_000 / Math.max(1, limit.guard))}: ${amount} a minute.`
  return `${amount} a minute, ${percent(Math.min(1, used(limit)))} of it in use.`
}
