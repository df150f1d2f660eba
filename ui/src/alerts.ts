// Alert rules as sentences, the page of the upstream that goes with each, and which alerts come first.

import type { AlertView } from './bindings/AlertView'
import type { RuleView } from './bindings/RuleView'
import { count, duration, percent, usd } from './format'

const UNITS: Record<string, (at: string) => string> = {
  spend: (at) => usd(at),
  burn: (at) => `${Number(at)} times the pace at which it lasts`,
  cost_per_call: (at) => `${Number(at)} times what it used to`,
  efficiency: (at) => `${Number(at)} output tokens for each uncached input token`,
  runaway: (at) => `${count(Number(at))} calls in a row`,
  chronic_burn: (at) => `${Number(at)} times in a row`,
  unpriced: (at) => (Number(at) === 1 ? 'one call' : `${Number(at)} calls`),
  clock_jump: (at) => `${Number(at)} s`,
  disk: (at) => (Number(at) > 1 ? `${Math.round(1_000 / Number(at))} MB` : `${Math.round(1 / Math.max(Number(at), 0.001))} GB`),
  failure: (at) => (Number(at) === 1 ? 'once' : `${Number(at)} times`),
  quota_back: (at) => (Number(at) === 1 ? 'one call' : `${Number(at)} calls`),
}

const VERBS: Record<string, string> = {
  spend: 'spending in # passes *',
  window: '* of # is used',
  week_used: '* of a week of # is used',
  budget: '* of # is spent',
  tokens: '* of the per-minute limit of # is in use, and calls wait',
  tier_month: '* of what the tier allows in a month is spent',
  forecast: '# runs out before its reset with a probability of *',
  burn: '# is used at *',
  cost_per_call: 'a call of # costs *',
  efficiency: '# gets fewer than *',
  runaway: '# makes *, each longer than the last',
  chronic_burn: '# is used up early *',
  breaker: '# fails calls',
  fallback: 'calls of # get their answers elsewhere',
  key_refused: '# refuses the key',
  capped: '# refuses calls: its money or window is used up',
  upstream_errors: '* of the calls to # fail',
  unpriced: 'the price of * of # is unknown',
  clock_jump: 'the clock jumps by *',
  ledger: 'something is wrong with the ledger',
  disk: 'less than * is free for the ledger',
  failure: 'a part of Tidegate fails *',
  quota_back: '# begins anew after turning away *',
  increase: 'an increase of a limit of # may be asked for',
  emergency: 'an emergency begins',
}

const WHOLE: Record<string, string> = { spend: 'a day', window: 'any window', budget: 'any budget', tokens: 'any group', forecast: 'any window', burn: 'any window', chronic_burn: 'any window', cost_per_call: 'any client', efficiency: 'any client', runaway: 'any session', unpriced: 'any model' }
const TONES: Record<string, string> = { info: 'Tell', warning: 'Warn', critical: 'Warn at once', emergency: 'Call an emergency' }

/** What a metric measures, without its figures: `spending in a day by client:ci`. */
export function metricWords(metric: string): string {
  const [sign = '', ...rest] = metric.split('.')
  const verb = VERBS[sign]
  if (sign === 'spend') return `spending in ${thing(sign, rest)}`
  return verb ? `${sign.replace(/_/g, ' ')} of ${thing(sign, rest)}` : metric
}

/** `Warn when 80 %, at once when 90 % of any window is used, by ops, once per window.` */
export function ruleWords(rule: RuleView): string {
  const [sign = '', ...rest] = rule.metric.split('.')
  const marks = rule.thresholds.map((one) => (UNITS[sign] ?? ((at) => percent(Number(at))))(one.at))
  const verb = VERBS[sign] ?? `${rule.metric} passes *`
  const what = verb.replace('*', () => marks.join(' or ')).replace('#', () => thing(sign, rest))
  const by = rule.channels.length > 0 ? `, by ${rule.channels.join(', ')}` : ''
  const again = rule.cooldown_s === null ? 'once per window' : `again after ${duration(rule.cooldown_s * 1_000)} at the earliest`
  const quiet = rule.quiet_hours ? `, not from ${rule.quiet_hours.replace('-', ' to ')}` : ''
  return `${TONES[rule.thresholds[0]?.severity ?? ''] ?? 'Tell'} when ${what}${by}, ${again}${quiet}.`
}

function thing(sign: string, rest: string[]): string {
  const words = rest.filter((part) => !['*', 'used', 'p_runs_out'].includes(part))
  if (words.length === 0) return WHOLE[sign] ?? 'any upstream'
  const [part = '', ...scope] = words
  if (sign === 'spend') return `a ${part}${scope.length > 0 ? ` by ${scope.join('.')}` : ''}`
  if (sign === 'budget') return `the ${part}'s budget${scope.length > 0 ? ` of ${scope.join('.')}` : ''}`
  return words.join(' of ')
}

const SEVERITIES = ['info', 'warning', 'critical', 'emergency']

/** What is open before what is over, and of that the gravest; else as they came. */
export function openFirst(alerts: AlertView[]): AlertView[] {
  const rank = (alert: AlertView) => (alert.resolved_at ? -1 : Math.max(0, SEVERITIES.indexOf(alert.severity)))
  return alerts.toSorted((a, b) => rank(b) - rank(a))
}

export const PAGES = {
  limits: 'https://platform.claude.com/settings/limits',
  usage: 'https://platform.claude.com/usage',
  billing: 'https://platform.claude.com/settings/billing',
  keys: 'https://platform.claude.com/settings/keys',
  support: 'https://support.claude.com',
  status: 'https://status.claude.com',
}

const PAGE_OF: Record<string, keyof typeof PAGES> = {
  tokens: 'limits', tier: 'limits', increase: 'limits', window: 'usage', week: 'usage', forecast: 'usage', burn: 'usage', daily_spend: 'billing', budget: 'usage',
  breaker: 'status', fallback: 'status', key_refused: 'keys', capped: 'billing', upstream_errors: 'status', emergency: 'limits',
}

/** Where the upstream tells more of why a call was refused or failed; null where nothing of it is the upstream's. */
export function pageOfRefusal(outcome: string, error: string | null, status: number): string | null {
  if (outcome !== 'refused' && outcome !== 'failed') return null
  const says = error ?? ''
  if (/budget|billing|credit/.test(says)) return PAGES.billing
  if (/window|week|deadline|queue|rate_limit|held/.test(says) || status === 429) return PAGES.limits
  if (/authentication|permission|key/.test(says) || status === 401 || status === 403) return PAGES.keys
  return /breaker|overloaded|emergency/.test(says) || status >= 500 ? PAGES.status : PAGES.support
}

/** `cost per call` of a shipped rule; one of the settings keeps its name. */
export function ruleName(rule: string): string {
  return rule in VERBS || rule in PAGE_OF ? rule.replaceAll('_', ' ') : rule
}

/** Of what happens on this machine the upstream knows nothing. */
const OURS = ['clock_jump', 'disk', 'failure', 'ledger']

/** Where the upstream tells more of what a rule is about; null where it can't. */
export function pageOf(rule: string): string | null {
  return OURS.includes(rule) ? null : PAGES[PAGE_OF[rule] ?? 'usage']
}
