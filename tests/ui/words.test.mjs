// Numbers and sentences as a person reads them.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { source } from './support.mjs'

let modules, format, headline
before(async () => {
  modules = await source()
  format = await modules.load('/src/format.ts')
  headline = await modules.load('/src/headline.ts')
})
after(() => modules?.close())

const limit = (group, resource, guard, level) => ({ upstream: 'a', group, resource, limit: guard, guard, level, source: 'headers', observed_at: null })
const queue = (waiting, paused = false) => ({ waiting, running: 0, oldest_ms: 0, eta_ms: waiting * 1_000, paused })
const status = (changes) => ({
  at: '2026-11-27T10:00:00Z',
  gateway: { address: 'http://127.0.0.1:8432', trouble: null },
  limits: [],
  windows: [],
  emergency: { active: false, reason: null, causes: [] },
  forecasts: [],
  queue: { critical: queue(0), normal: queue(0), background: queue(0) },
  live: [],
  ...changes,
})

test('money has cents, small money the digits that matter, unknown money none', () => {
  const seen = ['1234.56', '18.420000000', '0.0021', '0.000000000', '0.000000001', '0.000040000', '0.099950000', null].map(format.usd)
  assert.deepEqual(seen, ['$1,234.56', '$18.42', '$0.0021', '$0.00', '$0.000000001', '$0.00004', '$0.1000', '–'])
})

test('exact amounts have at least cents, and as many digits as those beside them need', () => {
  assert.deepEqual(['0.3', '3.00', '0.005520000', '12', null].map((amount) => format.exact(amount)), ['$0.30', '$3.00', '$0.00552', '$12.00', '–'])
  const column = ['0.0027', '0.00768', null, '1']
  assert.deepEqual(column.map((amount) => format.exact(amount, format.digits(column))), ['$0.00270', '$0.00768', '–', '$1.00000'])
})

test('a minute heals and is never critical; a window that is nearly full is, and one that will run out warns', () => {
  assert.deepEqual([0.5, 0.8, 1].map(headline.tone), ['calm', 'warn', 'warn'])
  assert.deepEqual([0.5, 0.9, 0.95].map(headline.windowTone), ['calm', 'warn', 'critical'])
  assert.deepEqual([{ p_runs_out: 0.8 }, { used: '240' }, {}].map((changes) => headline.forecastTone(forecast(changes))), ['warn', 'critical', 'calm'])
})

test('tokens and durations are short and have units', () => {
  assert.deepEqual([0, 980, 1_200, 28_000, 999_949, 999_950, 1_300_000].map(format.count), ['0', '980', '1.2k', '28.0k', '999.9k', '1.0M', '1.3M'])
  const durations = [400, 9_949, 9_950, 59_000, 240_000, 10_800_000, 172_800_000].map(format.duration)
  assert.deepEqual(durations, ['0.4 s', '9.9 s', '10 s', '59 s', '4 min', '3 h', '2 d'])
})

test('a reason is a sentence with a capital, but where it begins with a name', () => {
  const said = ['the ledger is full', 'why?', 'claude-opus-4-1 took $2.22 (45 %)', 'daily_usd must be more than 0', '91 % of it is used', '$1.00 is spent', 'CI is off.'].map(format.sentence)
  assert.deepEqual(said, ['The ledger is full.', 'Why?', 'claude-opus-4-1 took $2.22 (45 %).', 'daily_usd must be more than 0.', '91 % of it is used.', '$1.00 is spent.', 'CI is off.'])
})

test('models and groups read as people say them', () => {
  assert.deepEqual(['claude-sonnet-4-5-20250929', 'claude-opus-4-1', 'claude-sonnet-4-20250514', 'gpt-x'].map(format.model), ['Sonnet 4.5', 'Opus 4.1', 'Sonnet 4', 'gpt-x'])
  assert.deepEqual(['sonnet-4', 'haiku-4.5', 'claude-*'].map(format.group), ['Sonnet 4', 'Haiku 4.5', 'claude-*'])
})

test('the headline tells trouble first, then who waits for what, then what is closest', () => {
  const limits = [limit('sonnet-4', 'input_tokens', 28_000, 1_000), limit('haiku-4.5', 'requests', 48, 10)]
  const live = [{ state: 'waiting', model: 'claude-haiku-4-5' }]
  const title = (changes) => headline.headline(status(changes)).title
  assert.equal(title({ gateway: { address: null, trouble: 'port 8432 is in use' } }), 'Port 8432 is in use.')
  assert.equal(title({ gateway: { address: null, trouble: null } }), 'The gate is shut.')
  const waiting = { critical: queue(0), normal: queue(3), background: queue(0) }
  assert.equal(title({ limits, live, queue: waiting }), '3 calls wait for Haiku 4.5 requests.', 'not for the fullest limit of others')
  const pace = headline.headline(status({ limits, live, queue: waiting })).detail
  assert.equal(pace, 'One leaves every 1.3 s: 48 a minute. All of them will have left in about 3.0 s.')
  const held = { ...waiting, background: { ...queue(2), eta_ms: null } }
  const unknown = headline.headline(status({ limits, live, queue: held })).detail
  assert.equal(unknown, 'One leaves every 1.3 s: 48 a minute.', 'nobody knows when those leave that a person holds')
  const paused = { critical: queue(0), normal: queue(0), background: queue(1, true) }
  assert.equal(title({ limits, queue: paused }), '1 background call waits: you paused them.')
  assert.equal(title({ limits }), 'Sonnet 4 input tokens are 96 % used. Nothing waits yet.')
  assert.equal(title({}), 'The gate is open.')
})

test('of several limits that hold calls back the one of the most calls is named, with their number', () => {
  const limits = [limit('haiku-4.5', 'requests', 48, 2), limit('claude-sonnet-*, claude-opus-4-*', 'input_tokens', 28_000, 1_000), limit('opus-5', 'requests', 48, 48)]
  const wait = (counts) => Object.entries(counts).flatMap(([model, calls]) => Array.from({ length: calls }, () => ({ state: 'waiting', model })))
  const title = (live, waits = live.length) => headline.headline(status({ limits, live, queue: { critical: queue(0), normal: queue(waits), background: queue(0) } })).title
  const [haiku, sonnet, opus] = ['claude-haiku-4-5', 'claude-sonnet-4-5', 'claude-opus-4-1']
  assert.equal(title(wait({ [haiku]: 14, [sonnet]: 21, [opus]: 10 })), '45 calls wait, 31 of them for claude-sonnet-*, claude-opus-4-* input tokens.')
  assert.equal(title(wait({ [haiku]: 30, [sonnet]: 20 }), 120), '120 calls wait, above all for Haiku 4.5 requests.')
  assert.equal(title(wait({ [sonnet]: 2, [opus]: 1 })), '3 calls wait for claude-sonnet-*, claude-opus-4-* input tokens.')
  assert.equal(title(wait({ 'gpt-x': 2, 'claude-opus-5': 1 })), '3 calls wait, 1 of them for Opus 5 requests.')
  assert.equal(title(wait({ 'gpt-x': 2 })), '2 calls wait.')
})

const spread = (p10, p50, p90) => ({ p10, p50, p90 })
const forecast = (changes) => ({
  window: 'week', upstream: 'anthropic', scope: null, unit: 'usd', used: '128.06', limit: '250', resets_at: '2026-11-30T00:00:00Z', p_runs_out: 0.07, runs_out: spread(null, null, null),
  left_at_reset: spread('22', '60.4', '88'), total: spread('162', '190', '228'), informative: true, basis: 'two weeks of hours', text: 'probably lasts (93 %)', score: { forecasts: 8, hits: 7 }, ...changes,
})
const zoned = (forecasts, upstreams = ['anthropic']) => status({ gateway: { address: 'http://x', trouble: null, timezone: 'Europe/Berlin', upstreams }, forecasts })

test('a forecast is the headline: what lasts, what runs out, and how sure that is', () => {
  const head = (one) => headline.headline(zoned([one]))
  assert.deepEqual(head(forecast({})), {
    title: 'The week lasts. About $60 will be left on Mon 01:00 (Europe/Berlin).',
    detail: '8 in 10 between $22 and $88. It runs out before with a probability of 7 %. 80 % band hit 7 of 8.',
    tone: 'calm',
  })
  const out = head(forecast({ p_runs_out: 0.81, text: 'runs out Fri afternoon (Europe/Berlin)', score: null }))
  assert.deepEqual([out.title, out.tone], ['The week runs out Fri afternoon (Europe/Berlin).', 'warn'])
  assert.equal(head(forecast({ p_runs_out: 1, text: 'has run out' })).title, 'The week has run out.')
  assert.match(head(forecast({ limit_since: '2026-11-26T13:00:00Z' })).detail, /It has this limit since Thu 14:00; what was used before counts\. 80 % band hit/)
  assert.equal(head(forecast({ left_at_reset: spread('0.5', '2.5', '9.99') })).title, 'The week lasts. About $2.50 will be left on Mon 01:00 (Europe/Berlin).')
})

const window = (changes) => ({ name: 'week', upstream: 'anthropic', scope: null, unit: 'usd', used: '0.900000000', reserved: '0', limit: '1.000000000', resets_at: '2026-11-30T00:00:00Z', hard: false, ...changes })
const ci = (changes) => window({ name: 'client:ci day', upstream: null, scope: 'client:ci', used: '1.050000000', resets_at: '2026-11-27T23:00:00Z', ...changes })

test('a limit that nobody can forecast yet is a headline as any other, and trouble comes before all of them', () => {
  const early = forecast({ informative: false, p_runs_out: null, used: '0.1', basis: '3 hours of history' })
  const head = (windows, forecasts = []) => headline.headline({ ...zoned(forecasts), windows })
  assert.deepEqual(head([window({})], [early]), {
    title: 'The week is 90 % used.',
    detail: '$0.90 of $1.00 are used. It begins anew Mon 01:00 (Europe/Berlin). Too early to tell whether it lasts: 3 hours of history.',
    tone: 'warn',
  })
  assert.match(head([window({ used: '0.2' })]).title, /^The week is 20 % used\.$/, 'even where it has no forecast yet')
  assert.deepEqual(head([window({}), ci({})], [early]), {
    title: 'The day of client ci has run out.',
    detail: '$1.05 of $1.00 are used. It begins anew Sat 00:00 (Europe/Berlin). Until then calls of client ci are refused.',
    tone: 'critical',
  })
  assert.equal(head([window({ used: '1' })], [forecast({})]).title, 'The week has run out.', 'a forecast of minutes ago knows less than the window')
  const before = forecast({ resets_at: '2026-11-27T09:59:00Z', p_runs_out: 1, text: 'has run out' })
  const anew = head([window({ used: '0' })], [before])
  assert.deepEqual([anew.title, anew.detail], ['The gate is open.', 'The week is 0 % used.'], 'it has begun anew since')
  const half = { ...zoned([early]), windows: [window({ used: '0.5' })], limits: [limit('sonnet-4', 'requests', 48, 30)], live: [{ state: 'waiting', model: 'claude-sonnet-4-5' }] }
  const waiting = { critical: queue(0), normal: queue(1), background: queue(0) }
  assert.equal(headline.headline({ ...half, queue: waiting }).title, '1 call waits for Sonnet 4 requests.', 'who waits, waits for something else')
  assert.equal(headline.headline(half).title, 'The week is 50 % used.')
  assert.match(headline.headline({ ...half, limits: [limit('sonnet-4', 'requests', 48, 12)] }).detail, /^Closest is Sonnet 4 requests/)
  assert.equal(head([window({ resets_at: null })]).title, 'The gate is open.', 'what has not begun binds nobody')
  const shut = { ...zoned([forecast({ p_runs_out: 0.9 })]), gateway: { address: null, trouble: null, timezone: 'UTC', upstreams: [] } }
  assert.equal(headline.headline(shut).title, 'The gate is shut.')
})

test('an emergency is the headline, whatever else is open, full or waiting', () => {
  const emergency = { active: true, reason: 'somebody called it', causes: ['manual'] }
  const head = (changes) => headline.headline({ ...zoned([]), emergency, ...changes })
  const title = 'Emergency: normal calls go at half the pace.'
  assert.deepEqual(head({}), { title, detail: 'Somebody called it.', tone: 'critical' })
  assert.equal(head({ queue: { critical: queue(0), normal: queue(3), background: queue(0) } }).title, title)
  const week = head({ emergency: { ...emergency, causes: ['week'] }, windows: [window({ used: '0.953' })] })
  assert.match(week.title, /only critical calls spend what is left of the week/)
  assert.match(week.detail, /^The week is 95 % used\./)
})

test('of several forecasts the one binds that most likely runs out; without a limit it is the month', async () => {
  const { binding, subject } = await modules.load('/src/forecast.ts')
  const month = forecast({ window: 'spend month', upstream: null, limit: null, p_runs_out: null })
  const budget = forecast({ window: 'day', upstream: null, scope: 'client:ci', p_runs_out: 0.4 })
  assert.equal(binding([month, forecast({}), budget]), budget)
  const early = (used) => forecast({ informative: false, p_runs_out: null, used })
  const [half, most] = [early('125'), early('230')]
  assert.deepEqual([binding([month, half]), binding([half, most]), binding([budget, half]), binding([budget, most]), binding([month])], [half, most, budget, most, month])
  assert.deepEqual([subject(budget, 1), subject(forecast({}), 2), subject(month, 1)], ['The day of client ci', 'The week of anthropic', 'This month'])
})

test('rules are sentences', async () => {
  const { ruleWords } = await modules.load('/src/alerts.ts')
  const rule = (metric, marks, more = {}) => ruleWords({ name: 'x', metric, thresholds: marks.map(([at, severity]) => ({ at, severity })), channels: [], cooldown_s: null, quiet_hours: null, ...more })
  assert.equal(rule('window.*.used', [['0.8', 'warning'], ['0.9', 'critical']], { channels: ['ops', 'desk'] }), 'Warn when 80 % or 90 % of any window is used, by ops, desk, once per window.')
  assert.equal(rule('spend.day.client:ci', [['20', 'warning']], { quiet_hours: '22:00-07:00' }), 'Warn when spending in a day by client:ci passes $20.00, once per window, not from 22:00 to 07:00.')
  assert.equal(rule('forecast.week.p_runs_out', [['0.5', 'warning']]), 'Warn when week runs out before its reset with a probability of 50 %, once per window.')
  assert.equal(rule('runaway', [['100', 'critical']], { cooldown_s: 7_200 }), 'Warn at once when any session makes 100 calls in a row, each longer than the last, again after 2 h at the earliest.')
  assert.equal(rule('disk', [['1', 'warning'], ['5', 'critical']]), 'Warn when less than 1 GB or 200 MB is free for the ledger, once per window.')
  assert.equal(rule('unheard.of', [['0.5', 'info']]), 'Tell when unheard.of passes 50 %, once per window.')
})

test('an alert leads to the upstream’s page that tells more, where there is one', async () => {
  const { pageOf } = await modules.load('/src/alerts.ts')
  assert.match(pageOf('breaker'), /status/)
  assert.deepEqual(['ledger', 'disk', 'failure', 'clock_jump'].map(pageOf), [null, null, null, null])
})

test('an alert that is open stands before all that are over, the gravest first, else the latest', async () => {
  const { openFirst } = await modules.load('/src/alerts.ts')
  const alert = (alert_id, severity, resolved_at = null) => ({ alert_id, severity, resolved_at })
  const over = ['i', 'h', 'g'].map((id) => alert(id, 'info', '2026-11-28T05:42:00Z'))
  const open = [alert('f', 'info'), alert('e', 'warning'), alert('d', 'critical'), alert('c', 'warning')]
  const all = [...over, ...open, alert('b', 'emergency', '2026-11-20T00:00:00Z'), alert('a', 'of another version')]
  assert.equal(openFirst(all).map((one) => one.alert_id).join(''), 'decfaihgb')
})

test('every sign of a rule has a sentence of its own', async () => {
  const { readFileSync } = await import('node:fs')
  const source = readFileSync(new URL('../../src-tauri/crates/domain/src/alert/metric.rs', import.meta.url), 'utf8')
  const signs = [...source.matchAll(/Sign::\w+ => "(\w+)"/g)].map(([, name]) => name)
  const { ruleWords } = await modules.load('/src/alerts.ts')
  assert.ok(signs.length >= 20, `${signs}`)
  for (const sign of signs) {
    const words = ruleWords({ name: sign, metric: sign, thresholds: [{ at: '1', severity: 'info' }], channels: [], cooldown_s: null, quiet_hours: null })
    assert.ok(!words.includes(`${sign} passes`), words)
  }
})

test('every code of an error has words, and an answer as long as it may be is no error', async () => {
  const { readFileSync } = await import('node:fs')
  const read = (file) => readFileSync(new URL(`../../src-tauri/crates/gateway/src/${file}.rs`, import.meta.url), 'utf8')
  const codes = new Set([read('error'), read('words')].flatMap((source) => [...source.matchAll(/"(tidegate_\w+)"/g)].map(([, code]) => code)))
  const { ending, errorWords } = await modules.load('/src/errors.ts')
  assert.ok(codes.size >= 25, `${[...codes]}`)
  for (const code of codes) assert.match(errorWords(code), new RegExp(`^\\w[\\w :,]+ \\(${code}\\)$`))
  assert.deepEqual(ending({ outcome: 'refused', error: 'tidegate_queue_full' }), ['Refused', 'the queue was full (tidegate_queue_full)'])
  assert.deepEqual(ending({ outcome: 'completed', error: 'max_tokens' }), ['Answer', 'ended at max_tokens: it is as long as its request allowed'])
  assert.deepEqual(ending({ outcome: 'failed', error: 'overloaded_error' }), ['Error', 'overloaded error'])
  assert.deepEqual(ending({ outcome: 'failed', error: 'no route to host' }), ['Error', 'no route to host'])
  assert.equal(ending({ outcome: 'completed', error: null }), null)
})

test('the dearest names have a place of their own in the stack, the rest share one, and no cost is lost', async () => {
  const { marks, stacked } = await modules.load('/src/stack.ts')
  const row = (key, cost_usd) => ({ key, cost_usd, calls: 1 })
  const days = [{ day: '2026-11-26', rows: [...'abcdefgh'].map((key, at) => row(key, String(8 - at))) }, { day: '2026-11-27', rows: [row('', null), row('h', '100')] }]
  const stack = stacked({ days }, 'nobody')
  assert.deepEqual(stack.names, ['h', 'a', 'b', 'c', 'd', 'others'])
  assert.deepEqual(stack.days.map((day) => day.sum), [36, 100])
  assert.deepEqual(stack.days[0].parts, [1, 8, 7, 6, 5, 9])
  assert.deepEqual([marks(0), marks(17), marks(0.8)], [[0], [0, 5, 10, 15, 20], [0, 0.2, 0.4, 0.6000000000000001, 0.8]])
})

test('axes say no more digits than their steps need', () => {
  assert.deepEqual(format.axis([0, 50, 100], 'usd'), ['$0', '$50', '$100'])
  assert.deepEqual(format.axis([0, 0.5, 1], 'usd'), ['$0', '$0.50', '$1.00'])
  assert.deepEqual(format.axis([0, 500_000], 'tokens'), ['0', '500.0k'])
})

test('an hour of the week is unknown before the first call, nothing when nobody called, and a mean over both sides of a changed clock', async () => {
  const { week } = await modules.load('/src/week.ts')
  const row = (key, cost_usd) => ({ key, cost_usd })
  const rows = [row('2026-10-19T09:00:00+02:00', '4'), row('2026-10-26T09:00:00+01:00', '2')]
  const found = week(rows, Date.parse('2026-10-26T08:30:00Z'), 'Europe/Berlin')
  assert.deepEqual([found[0][9], found[0][10], found[6][23]], [3, 0, 0], 'both Mondays are in the mean')
  const young = week([row('2026-11-27T09:00:00Z', '1')], Date.parse('2026-11-27T10:30:00Z'), 'UTC')
  assert.deepEqual([young[4][9], young[4][10], young[4][8], young[0][9]], [1, 0, null, null])
  assert.ok(week([], 0, 'UTC').flat().every((cost) => cost === null))
})

test('days and hours are those of the named zone', async () => {
  const zone = await modules.load('/src/zone.ts')
  const at = Date.parse('2026-11-26T23:30:00Z')
  assert.deepEqual([zone.dayOf(at, 'Europe/Berlin'), zone.dayOf(at, 'UTC')], ['2026-11-27', '2026-11-26'])
  assert.deepEqual([zone.hourName(at, 'Europe/Berlin'), zone.hourName(at, 'America/New_York')], ['2026-11-27T00:00:00+01:00', '2026-11-26T18:00:00-05:00'])
  assert.deepEqual([zone.dayAfter('2026-03-01', -1), zone.dayAfter('2026-12-31', 1)], ['2026-02-28', '2027-01-01'])
  assert.equal(zone.weekTime('2026-11-30T00:00:00Z', 'Europe/Berlin', at), 'Mon 01:00')
  assert.equal(zone.weekTime('soon', 'Europe/Berlin'), 'soon', 'what is no moment stays as it is')
  assert.equal(zone.known('Nowhere/Town'), undefined)
})

test('a moment further off than a week is not said by its weekday alone: it has its date, and its year where that is another', async () => {
  const { clock, dateTime, weekTime, zoned } = await modules.load('/src/zone.ts')
  const now = Date.parse('2026-11-27T10:00:00Z')
  const said = (say, moment) => say(moment, 'Europe/Berlin', now)
  assert.deepEqual(['2026-11-21T11:00:00Z', '2026-12-03T09:00:00Z'].map((at) => said(weekTime, at)), ['Sat 12:00', 'Thu 10:00'])
  assert.deepEqual(['2026-11-07T14:20:00Z', '2026-12-28T03:44:00Z', '2026-12-31T23:00:00Z'].map((at) => said(weekTime, at)), ['Sat 7 Nov, 15:20', 'Mon 28 Dec, 04:44', 'Fri 1 Jan 2027, 00:00'])
  assert.deepEqual(['2026-11-27T08:05:00Z', '2026-11-26T08:05:00Z', '2026-11-07T14:20:00Z'].map((at) => said(clock, at)), ['09:05', 'Thu 09:05', 'Sat 7 Nov, 15:20'])
  assert.equal(said(zoned, '2026-12-31T23:00:00Z'), 'Fri 1 Jan 2027, 00:00 (Europe/Berlin)')
  assert.deepEqual(['2026-08-07T14:20:00Z', '2025-12-27T08:05:00Z'].map((at) => said(dateTime, at)), ['7 Aug, 16:20', '27 Dec 2025, 09:05'])
  assert.deepEqual([weekTime, clock, dateTime].map((say) => said(say, 'soon')), ['soon', 'soon', 'soon'])
})

test('ranges end today, at the end of last month, and never before they begin', async () => {
  const { CHOICES, isSpan } = await modules.load('/src/ranges.ts')
  const spans = Object.fromEntries(CHOICES.map((one) => [one.name, one.span('2026-03-01')]))
  assert.deepEqual(spans['7'], { from: '2026-02-23', to: '2026-03-01' })
  assert.deepEqual(spans.month, { from: '2026-03-01', to: '2026-03-01' })
  assert.deepEqual(spans.last, { from: '2026-02-01', to: '2026-02-28' })
  assert.deepEqual([isSpan({ from: '2026-03-02', to: '2026-03-01' }), isSpan({ from: '', to: '2026-03-01' }), isSpan(spans['90'])], [false, false, true])
})

test('marks that turn text around are shown, not obeyed', async () => {
  const { tame } = await modules.load('/src/tame.ts')
  assert.deepEqual(tame({ a: ['x\u202ey', 1, null], b: '\u2066z\u2069' }), { a: ['x\ufffdy', 1, null], b: '\ufffdz\ufffd' })
  assert.equal(tame('مرحبا 🌊'), 'مرحبا 🌊', 'what is written from right to left stays')
})
