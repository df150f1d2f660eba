// Minutes of the made-up application: calm for the most part, with a burst now and then.

import type { MinutesView } from '../../bindings/MinutesView'
import { iso } from './books'
import { ZONE } from './series'

const GROUPS = ['sonnet-4', 'haiku-4.5', 'opus-4']
const MINUTE_MS = 60_000

export function minutes(any: boolean, { from, to, group }: { from: string; to: string; group: string | null }): MinutesView {
  const of = (name: string) => ({ upstream: 'anthropic', group: name, requests_limit: 50, input_tokens_limit: 30_000, output_tokens_limit: name === 'opus-4' ? null : 8_000 })
  const view: MinutesView = { from, to, timezone: ZONE, of: any ? of(group ?? 'sonnet-4') : null, groups: any ? GROUPS.map(of) : [], minutes: [] }
  if (!any) return view
  const size = 1 / (1 + GROUPS.indexOf(view.of?.group ?? ''))
  for (let at = Date.parse(from); at < Date.parse(to); at += MINUTE_MS) {
    const n = at / MINUTE_MS
    const noise = (Math.sin(n * 12.9898) * 43_758.5453) % 1
    const swell = 0.45 + 0.3 * Math.sin(n / 47) + 0.25 * Math.abs(noise)
    const burst = n % 97 === 41 ? 2.1 : 1
    const requests = Math.round(38 * swell * size * (burst > 1 ? 1.6 : 1))
    const input_tokens = Math.round(24_000 * swell * size * burst)
    const output_tokens = Math.round(3_900 * swell * size)
    if (requests === 0) continue
    const over = [...(requests > 50 ? ['requests'] : []), ...(input_tokens > 30_000 ? ['input_tokens'] : []), ...(output_tokens > 8_000 ? ['output_tokens'] : [])]
    view.minutes.push({ at: iso(at), requests, input_tokens, output_tokens, over })
  }
  return view
}
