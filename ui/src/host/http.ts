// A running `tidegate serve --api`, through Vite's proxy. It answers questions, and of what can be changed only the settings.

import type { StatusView } from '../bindings/StatusView'
import type { Host } from '../host'
import { type Command, questions } from '../questions'

const ASK_EVERY_MS = 500

/** The paths of the questions that only read; their arguments are the query. */
const PATHS: Record<string, string> = {
  usage: 'usage',
  usage_days: 'days',
  explain: 'explain',
  calls: 'calls',
  course: 'course',
  minutes: 'minutes',
  savings: 'savings',
  facts: 'facts',
  protections: 'protections',
  settings_show: 'settings',
  queue: 'queue',
  alert_list: 'alerts',
  alert_rules: 'rules',
  tier_list: 'tiers',
  client_list: 'clients',
}

export function httpHost(token: string): Host {
  async function read<T>(path: string): Promise<T> {
    const response = await fetch(`/tidegate/${path}`, { headers: { authorization: `Bearer ${token}` } })
    if (!response.ok) throw new Error(`The gateway answered ${response.status} to ${path}.`)
    return (await response.json()) as T
  }
  async function change<T>(path: string, body: object): Promise<T> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const response = await fetch(`/tidegate/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    const answer = (await response.json()) as T & { error?: { message: string } }
    // A refusal of values is an answer; anything else is no answer.
    if (answer.error) throw new Error(answer.error.message)
    return answer
  }
  function ask<T>({ command, ...given }: Command): Promise<T> {
    if (command === 'why') return read<T>(`calls/${encodeURIComponent(String(given.call_id))}`)
    if (command === 'settings_set') return change<T>('settings', given)
    const path = PATHS[command]
    return path ? read<T>(path + query(given)) : elsewhere()
  }
  const elsewhere = () => Promise.reject<never>(new Error('This page only reads. Use the window or `tidegate`.'))

  return {
    ...questions(ask),
    watch(seen, lost) {
      const look = () => read<StatusView>('status').then(seen, (error: unknown) => lost(String(error)))
      void look()
      const timer = setInterval(look, ASK_EVERY_MS)
      return () => clearInterval(timer)
    },
    exportCsv: elsewhere,
  }
}

function query(given: Record<string, unknown>): string {
  const pairs = Object.entries(given).filter(([, value]) => value !== null && value !== undefined)
  return pairs.length > 0 ? `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : ''
}
