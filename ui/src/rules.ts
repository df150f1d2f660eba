// What a rule of one's own may measure, as the settings file takes it.

import { metricWords } from './alerts'

export interface Metric {
  metric: string
  label: string
  /** What its thresholds are: an example of them, and what they mean. */
  at: string
  means: string
  /** Kinds of that which it may be about; none where it is about everything. */
  of: string[]
}

const WHOSE = ['client', 'person', 'project', 'tenant']
const UPSTREAM = ['upstream']
const row = (metric: string, label: string, at: string, means: string, of: string[]): Metric => ({ metric, label, at, means, of })
const part = (metric: string, label: string, of: string[], whole: string) => row(metric, label, '0.8, 0.9', `parts of ${whole}`, of)
const event = (metric: string, label: string, of: string[] = UPSTREAM) => row(metric, label, '1', '1 while it is so', of)

export const METRICS: Metric[] = [
  row('spend.day', 'spending of a day', '20, 40', 'dollars', WHOSE),
  row('spend.week', 'spending of a week', '100', 'dollars', WHOSE),
  row('spend.month', 'spending of a month', '300', 'dollars', WHOSE),
  part('budget.day', 'use of a day’s budget', [...WHOSE, 'machine'], 'the budget'),
  part('budget.week', 'use of a week’s budget', [...WHOSE, 'machine'], 'the budget'),
  part('budget.month', 'use of a month’s budget', [...WHOSE, 'machine'], 'the budget'),
  part('window.*.used', 'use of any window', UPSTREAM, 'its limit'),
  part('week_used', 'use of the week', UPSTREAM, 'its limit'),
  part('tokens.all', 'use of limits a minute', [], 'what Tidegate allows itself'),
  part('tokens.requests', 'use of requests a minute', [], 'what Tidegate allows itself'),
  part('tokens.input', 'use of input tokens a minute', [], 'what Tidegate allows itself'),
  part('tokens.output', 'use of output tokens a minute', [], 'what Tidegate allows itself'),
  part('tier_month', 'use of the tier’s month', UPSTREAM, 'its cap'),
  row('forecast.*.p_runs_out', 'probability that a window runs out', '0.5', 'from 0 to 1', UPSTREAM),
  row('burn.*', 'pace at which a window is used', '2', 'times the pace at which it lasts', UPSTREAM),
  row('chronic_burn.*', 'windows in a row used up early', '3', 'windows', UPSTREAM),
  row('cost_per_call', 'cost of a call', '2', 'times what it used to', ['client']),
  row('efficiency', 'output for each uncached input token', '0.3', 'tokens; told below it', ['client']),
  row('runaway', 'calls in a row, each longer', '100', 'calls', ['session']),
  row('upstream_errors', 'calls that fail', '0.05', 'parts of the calls', UPSTREAM),
  row('unpriced', 'calls of unknown price in a day', '1', 'calls', ['model']),
  row('quota_back', 'calls turned away before a window began anew', '1', 'calls', UPSTREAM),
  row('clock_jump', 'a jump of the clock', '60', 'seconds', []),
  row('disk', 'room for the ledger', '1', 'times less than 1 GB', []),
  row('failure', 'failures of Tidegate itself', '1', 'failures', []),
  event('breaker', 'an upstream fails'),
  event('fallback', 'answers come from elsewhere'),
  event('key_refused', 'a key is refused'),
  event('capped', 'an upstream has no money left'),
  event('increase', 'an increase may be asked for'),
  event('emergency', 'an emergency'),
  event('ledger', 'trouble with the ledger', []),
]

/** Its thresholds are dollars. */
export const isMoney = (metric: string) => metric.startsWith('spend.')

/** `spending of a day of project:shop` */
export function about(metric: string): string {
  const known = METRICS.find((one) => metric === one.metric || metric.startsWith(`${one.metric}.`))
  return known ? [known.label, metric.slice(known.metric.length + 1)].filter(Boolean).join(' of ') : metricWords(metric)
}
