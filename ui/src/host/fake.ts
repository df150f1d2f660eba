// An application that is not there: for work on the UI and for its tests. `?fake=` chooses what it pretends.

import type { SettingChange } from '../bindings/SettingChange'
import type { Host } from '../host'
import { type Command, type ExportQuestion, questions } from '../questions'
import * as books from './fake/books'
import { verdict } from './fake/here'
import { hostile } from './fake/hostile'
import { minutes } from './fake/minutes'
import * as plans from './fake/plans'
import { World } from './fake/world'

export type Pretence = 'busy' | 'empty' | 'first' | 'shut' | 'lost' | 'hostile' | 'quiet' | 'emergency' | 'demo' | 'many' | 'broken' | 'mute' | 'young'

const TICK_MS = 250
const MANY = 100_000
const FEW = 240

export function fakeHost(pretence: string): Host {
  const world = new World(pretence as Pretence)
  let asked = 0
  const said = <T>(view: T): T => (pretence === 'hostile' ? hostile(view) : view)
  async function ask<T>(command: Command): Promise<T> {
    return said(answer(world, command) as T)
  }
  return {
    ...questions(ask),
    watch(seen, lost) {
      // Deaf to the first question.
      if (pretence === 'mute' && !asked++) return () => {}
      seen(said(world.status()))
      const timer = setInterval(() => {
        if (pretence === 'lost') return lost('The gateway does not answer.')
        world.tick()
        seen(said(world.status()))
      }, TICK_MS)
      return () => clearInterval(timer)
    },
    exportCsv: (question) => world.here.write(question, pretence === 'many'),
    setup: {
      startDemo: () => Promise.resolve(world.demo()),
      stopDemo: () => Promise.resolve(void (world.state = 'open')),
      setKey: async (secret, anyway) => world.connect(secret, anyway),
      autostart: async () => world.here.autostart,
      setAutostart: async (on) => void (world.here.autostart = { ...world.here.autostart, on }),
      listenElsewhere: () => Promise.resolve((world.address = 'http://127.0.0.1:43210')),
      restart: () => Promise.resolve(world.settings.restart()),
      openSettings: () => Promise.resolve(),
      amountsHidden: async () => sessionStorage.getItem('amounts hidden') === 'true',
      hideAmounts: async (on) => sessionStorage.setItem('amounts hidden', String(on)),
      openPage: async (url) => sessionStorage.setItem('opened', JSON.stringify([...JSON.parse(sessionStorage.getItem('opened') ?? '[]'), url])),
    },
  }
}

/** As the application answers; a refusal is a sentence that is thrown. */
function answer(world: World, given: Command): unknown {
  const text = (name: string) => String(given[name])
  const span = { from: (given.from ?? null) as string | null, to: (given.to ?? null) as string | null }
  if (world.pretence === 'broken') throw 'the ledger can’t be read: the disk is full; make room on it'
  switch (given.command) {
    case 'usage': return books.usage(world.books, text('by'), span)
    case 'usage_days': return books.days(world.books, text('by'), span)
    case 'explain': return books.explain(world.books, span)
    case 'calls': return world.books.length === 0 ? [] : books.calls(Math.min(Number(given.last), world.pretence === 'many' ? MANY : FEW), span)
    case 'export_columns': return books.columns(given.question as ExportQuestion)
    case 'export_progress': return world.here.written
    case 'export_stop': return world.here.stop()
    case 'savings': return books.savings(world.books, span)
    case 'why': return books.why(text('call_id'))
    case 'course': return world.course(text('window'))
    case 'minutes': return minutes(world.books.length > 0, { from: text('from'), to: text('to'), group: given.group as string | null })
    case 'facts': return { ...plans.facts(), currency: world.pretence === 'demo' ? { code: 'EUR', rate: '0.86', day: '2026-11-01' } : null }
    case 'protections': return world.books.length > 0 ? plans.protections() : []
    case 'settings_show': return world.settings.view()
    case 'settings_set': return world.settings.set(given.changes as SettingChange[], given.hash as string | null)
    case 'what_if': return plans.whatIf(world.status().forecasts, given.changes as string[])
    case 'queue': return world.waiting()
    case 'queue_drop': return world.drop(text('call'))
    case 'queue_raise': return world.raise(text('call'))
    case 'release': return void (world.reservations = world.reservations.filter((one) => one.id !== given.id))
    case 'pause': return void world.paused.add(text('class'))
    case 'resume': return void world.paused.delete(text('class'))
    case 'alert_list': return world.alerts
    case 'alert_rules': return plans.rules()
    case 'alert_snooze': return world.snooze(text('id'))
    case 'alert_raise_cap': return world.raiseCap(text('id'))
    case 'alert_test': if (given.channel === 'desktop') return
      throw 'channel ops did not take the test alert: it answered 404'
    case 'emergency_on': return world.emergency(true)
    case 'emergency_off': return world.emergency(false)
    case 'tier_list': return plans.tiers(world.sums(), world.purchases, world.reload, Date.now())
    case 'tier_purchase': return world.buy(text('usd'), span.from ?? (given.date as string | null))
    case 'tier_purchase_remove': return world.giveBack(text('id'))
    case 'tier_reload': return void (world.reload = given.reload as [string, string] | null)
    case 'key_list': return world.here.keys(world.upstreams)
    case 'key_test': return [verdict('sk-ant-')]
    case 'sources': return world.here.sources()
    case 'import_claude_code': return world.here.read()
    case 'import_progress': return world.here.progress
    case 'import_stop': return world.here.stop()
    case 'watch_claude_code': return void (world.here.watched = Boolean(given.on))
    case 'claude_code': return world.here.claudeCode()
    case 'claude_code_connect': return world.here.connect((name) => world.add(name, {}))
    case 'claude_code_disconnect': return world.here.disconnect()
    case 'client_list': return world.clients
    case 'client_add': return world.add(text('name'), given.change as object)
    case 'client_set': return world.set(text('name'), given.change as object)
    case 'client_revoke': return void (world.clients = world.clients.filter((one) => one.name !== given.name))
    default: throw `no such command: ${given.command}`
  }
}
