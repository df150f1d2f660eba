// Answers of the made-up ledger.

import type { CallView } from '../../bindings/CallView'
import type { CourseView } from '../../bindings/CourseView'
import type { DaysView } from '../../bindings/DaysView'
import type { ExplainView } from '../../bindings/ExplainView'
import type { SavingsView } from '../../bindings/SavingsView'
import type { ShareView } from '../../bindings/ShareView'
import type { UsageView } from '../../bindings/UsageView'
import type { WhyView } from '../../bindings/WhyView'
import type { ExportQuestion, Span } from '../../questions'
import { dayAfter, dayOf } from '../../zone'
import { type Atom, CLIENTS, costOf, HOUR_MS, keyed, MODELS, PRICES, row, rows, series, spent, startOf, ZONE } from './series'

export type Books = Atom[]

/** Moments; without days today. */
function moments({ from, to }: Span): [number, number] {
  const today = dayOf(Date.now(), ZONE)
  const moment = (text: string) => (text.length > 10 ? Date.parse(text) : startOf(text, ZONE))
  const begin = moment(from ?? today)
  const end = to && to.length > 10 ? Date.parse(to) : startOf(dayAfter(to ?? today, 1), ZONE)
  return [begin, end]
}

export function within(books: Books, from: number, to: number): Books {
  return books.filter((atom) => atom.at >= from && atom.at < to)
}

export function usage(books: Books, by: string, span: Span): UsageView {
  const [from, to] = moments(span)
  const found = within(books, from, to)
  const all = rows(found, keyed(by))
  if (by !== 'hour' && by !== 'day') all.sort((a, b) => Number(b.cost_usd) - Number(a.cost_usd))
  const total = rows(found, () => 'total')[0] ?? row('total')
  return { from: iso(from), to: iso(to), timezone: ZONE, rows: all, total, subscription: null }
}

export function days(books: Books, by: string, span: Span): DaysView {
  const [from, to] = moments(span)
  const last = dayOf(to - 1, ZONE)
  const all = []
  for (let day = dayOf(from, ZONE); day <= last; day = dayAfter(day, 1)) {
    const found = within(books, startOf(day, ZONE), startOf(dayAfter(day, 1), ZONE))
    all.push({ day, rows: rows(found, keyed(by)).sort((a, b) => Number(b.cost_usd) - Number(a.cost_usd)) })
  }
  return { from: iso(from), to: iso(to), timezone: ZONE, days: all }
}

export function course(books: Books, since: number, resets: number, used: number): CourseView {
  const now = Date.now()
  const line = (from: number, to: number) => {
    const points = [{ at: from, used: 0 }]
    let sum = 0
    for (let hour = Math.floor(from / HOUR_MS) * HOUR_MS; hour < to; hour += HOUR_MS) {
      sum += spent(within(books, hour, hour + HOUR_MS))
      points.push({ at: Math.min(hour + HOUR_MS, to), used: sum })
    }
    return points
  }
  const points = line(since, now)
  const sum = points.at(-1)?.used ?? 0
  const scale = sum > 0 ? used / sum : 0
  const point = (one: (typeof points)[number]) => ({ at: iso(one.at), used: (one.used * scale).toFixed(9) })
  const length = resets - since
  const starts = length < 23 * HOUR_MS ? [] : [1, 2, 3, 4].map((n) => since - n * length)
  const earlier = starts.map((from) => ({ since: iso(from), points: line(from, from + length) })).filter(({ points }) => (points.at(-1)?.used ?? 0) > 0)
  return { unit: 'usd', since: iso(since), resets_at: iso(resets), points: points.map(point), earlier: earlier.map((one) => ({ ...one, points: one.points.map(point) })) }
}

const OUTCOMES = ['completed', 'completed', 'completed', 'completed', 'completed', 'completed', 'cancelled', 'failed', 'completed', 'refused']

const CALL_EVERY_MS = 20_000

/** The latest that began in that time. */
export function calls(last: number, span: Span): CallView[] {
  const [from, to] = moments(span)
  const now = Date.now()
  const first = Math.max(0, Math.floor((now - to) / CALL_EVERY_MS))
  return Array.from({ length: Math.max(0, Math.min(last, Math.ceil((now - from) / CALL_EVERY_MS) - first)) }, (_, n) => call(first + n))
}

export function columns({ what, by }: ExportQuestion): string[] {
  if (what === 'calls') return Object.keys(call(0))
  if (what === 'alerts') return ['alert_id', 'rule', 'scope', 'severity', 'message', 'crossed_at', 'resolved_at']
  return [what === 'daily' ? 'date' : 'month', ...(by?.split(',') ?? ['client', 'person', 'project', 'tenant', 'model']), 'calls', 'input_tokens', 'output_tokens', 'cost_usd']
}

export function savings(books: Books, span: Span): SavingsView {
  const [from, to] = moments(span)
  const found = within(books, from, to)
  const one = (client: string, model: string, kind: string, part: number) => {
    const cost = part * spent(found)
    const would = kind === 'short' ? 0.3 * cost : 0.5 * cost
    return { client, model, kind, calls: Math.round(900 * part), cost_usd: cost.toFixed(9), would_cost_usd: would.toFixed(9), saves_usd: (cost - would).toFixed(9) }
  }
  const rows = books.length === 0 ? [] : [one('nightly', MODELS[0] as string, 'background', 0.2), one('chat', MODELS[0] as string, 'short', 0.06)]
  return { from: iso(from), to: iso(to), timezone: ZONE, to_model: 'claude-haiku-4-5', rows, saves_usd: rows.reduce((sum, row) => sum + Number(row.saves_usd), 0).toFixed(9) }
}

const NONE = { input: 0, write: 0, read: 0, output: 0 }
const STATUS: Record<string, number> = { failed: 529, refused: 429 }
const ERRORS: Record<string, string> = { failed: 'the upstream is overloaded (529) at each of 3 attempts', refused: 'tidegate_deadline' }

/** The nth before now, from 0. */
export function call(n: number): CallView {
  const client = CLIENTS[(n * 7) % 4] ?? CLIENTS[0]
  const model = MODELS[client.models[n % client.models.length] ?? 0] as string
  const outcome = OUTCOMES[n % OUTCOMES.length] as string
  const done = outcome === 'completed'
  const refused = outcome === 'refused'
  const started = Math.floor(Date.now() / 60_000) * 60_000 - n * CALL_EVERY_MS
  const tokens = refused ? NONE : { input: 900 + ((n * 613) % 4_000), write: n % 5 === 0 ? 2_048 : 0, read: n % 3 === 0 ? 18_400 : 0, output: done ? 120 + ((n * 131) % 900) : 0 }
  const waited = (n * 37) % 4_200
  return {
    call_id: `01JD${String(10_000_000 - n).padStart(22, '0')}`,
    request_id: refused ? null : `req_011C${String(n).padStart(8, '0')}`,
    started_at: iso(started),
    ended_at: iso(started + waited + 6_100),
    client: client.name,
    person: client.person || null,
    project: client.project,
    tenant: client.tenant || null,
    priority: client.class,
    upstream: refused ? null : 'anthropic',
    model,
    status: STATUS[outcome] ?? 200,
    outcome,
    input_tokens: tokens.input,
    cache_write_5m_tokens: tokens.write,
    cache_write_1h_tokens: 0,
    cache_read_tokens: tokens.read,
    output_tokens: tokens.output,
    cost_usd: outcome === 'failed' || refused ? '0.000000000' : costOf(model, tokens).toFixed(9),
    price_id: refused ? null : `${model.replace('claude-', '').slice(0, -9)} since 2025-09-29`,
    estimated: outcome === 'cancelled',
    waited_ms: waited,
    first_byte_ms: done ? 800 + ((n * 17) % 600) : null,
    total_ms: waited + 6_100,
    attempts: outcome === 'failed' ? 3 : refused ? 0 : 1,
    cache: 'off',
    saved_usd: null,
    error: ERRORS[outcome] ?? (done && n % 7 === 4 ? 'max_tokens' : null),
  }
}

export function why(id: string): WhyView {
  const shown = call(10_000_000 - Number(id.slice(4)))
  const price = PRICES[shown.model] ?? [0, 0, 0, 0]
  const counts = [shown.input_tokens, shown.cache_write_5m_tokens, shown.cache_read_tokens, shown.output_tokens]
  const classes = ['input', 'cache_write_5m', 'cache_read', 'output']
  const terms = counts.map((tokens, at) => {
    const each = price[at] ?? 0
    return { class: classes[at] as string, tokens, usd_per_mtok: each.toFixed(2), cost_usd: ((tokens * each) / 1e6).toFixed(9) }
  })
  return {
    call: shown,
    attempts: Array.from({ length: shown.attempts }, (_, at) => ({
      number: at + 1,
      upstream: 'anthropic',
      opened_at: iso(Date.parse(shown.started_at) + shown.waited_ms + at * 1_500),
      status: shown.status,
      request_id: shown.request_id,
      error: shown.error,
      maybe_billed: false,
    })),
    price: shown.price_id === null ? null : { price_id: shown.price_id, valid_from: '2025-09-29', source: 'https://platform.claude.com/docs/en/about-claude/pricing' },
    terms: ['failed', 'refused'].includes(shown.outcome) ? [] : terms.filter((term) => term.tokens > 0),
    pricing: { certainty: 'exact', says: '', multipliers: [], web_searches: 0, web_search_usd: null, band: null, burndown_tokens: null, elsewhere: null, changes: [] },
    waited_for: shown.waited_ms > 0 && shown.outcome !== 'refused' ? "the limit of 30000 input tokens per minute for sonnet-4 (from the upstream's headers) was used up; 4 calls were before it" : null,
    sources: [],
    superseded: false,
    superseded_by: null,
    supersedes: [],
  }
}

export function explain(books: Books, span: Span): ExplainView {
  const [from, to] = moments(span)
  const found = within(books, from, to)
  const cost = spent(found)
  const calls = found.reduce((sum, atom) => sum + atom.calls, 0)
  const share = (name: string, part: number, of = calls): ShareView => ({ name, calls: of, cost_usd: part.toFixed(9), share: cost > 0 ? part / cost : 0 })
  const part = (at: number, tokens: (atom: Atom) => number) => found.reduce((sum, atom) => sum + (tokens(atom) * (PRICES[atom.model]?.[at] ?? 0)) / 1e6, 0)
  const reasons = [
    share('input', part(0, (atom) => atom.tokens.input)),
    share('cache_writes_5m', part(1, (atom) => atom.tokens.write)),
    share('cache_reads', part(2, (atom) => atom.tokens.read)),
    share('output', part(3, (atom) => atom.tokens.output)),
  ].sort((a, b) => b.share - a.share)
  const words: Record<string, string> = { input: 'prompts that no cache held', cache_writes_5m: 'cache writes that last 5 minutes', cache_reads: 'reading caches', output: 'answers' }
  const sentences = reasons.map((reason) => `$${Number(reason.cost_usd).toFixed(2)} (${Math.round(reason.share * 100)} %) for ${words[reason.name]}`)
  const models = rows(found, keyed('model')).map((one) => share(one.key, Number(one.cost_usd), one.calls))
  const total = { calls, unpriced_calls: 0, cost_usd: cost.toFixed(9), reasons, models, subagents: share('subagents', 0, 0), rewritten_tokens: 0, sentences: cost > 0 ? sentences : [] }
  return { from: iso(from), to: iso(to), timezone: ZONE, total, sessions: [] }
}

export function open(): Books {
  return series(Date.now())
}

/** Of somebody who has just begun, and cents of it. */
export function firstHour(): Books {
  return open().filter((atom) => atom.client.name === 'ci' && atom.cost < 0.05).slice(-1)
}

export function iso(at: number): string {
  return new Date(at).toISOString()
}
