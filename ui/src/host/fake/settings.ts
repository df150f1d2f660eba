// A settings file that is not there: it takes changes, refuses what is no number, and says what waits for a restart.

import type { PresetView } from '../../bindings/PresetView'
import type { RefusedView } from '../../bindings/RefusedView'
import type { SettingChange } from '../../bindings/SettingChange'
import type { SettingFieldView } from '../../bindings/SettingFieldView'
import type { SettingsSectionView } from '../../bindings/SettingsSectionView'
import type { SettingsSetView } from '../../bindings/SettingsSetView'
import type { SettingsStateView } from '../../bindings/SettingsStateView'
import type { SettingsView } from '../../bindings/SettingsView'

type Given = [key: string, form: string, usual: string, help: string, value?: string]

const FILE = '/home/mira/.config/tidegate/settings.toml'
const UNITS: Record<string, string> = { money: '$' }
const NUMBERS = ['money', 'part', 'number']

const AMOUNTS = (scope: string, daily?: string, monthly?: string, hard?: string): Given[] => [
  ['scope', 'text', '', 'client:, person:, project: or tenant: with a name, or machine', scope],
  ['daily_usd', 'money', '', 'in a day', daily],
  ['weekly_usd', 'money', '', 'in a week, from Monday'],
  ['monthly_usd', 'money', '', 'in a month', monthly],
  ['hard', 'switch', 'false', 'cuts a running stream at the cap', hard],
]
const RULE = (metric: string, thresholds: string): Given[] => [
  ['name', 'text', '', 'default: the metric'],
  ['metric', 'text', '', 'what is measured', metric],
  ['thresholds', 'numbers', '', 'as the metric is measured', thresholds],
  ['severity', 'choice', 'warning', 'how loud it is'],
  ['channels', 'texts', '', 'default: all'],
  ['cooldown', 'text', 'window', 'not again before the next window, or for a time such as 6h'],
]
const ALERTS: Given[] = [
  ['token_warning', 'part', '0.80', 'a warning when so much of a limit, a window or a budget is used'],
  ['token_critical', 'part', '0.90', 'critical from here on', '0.95'],
  ['weekly_emergency', 'part', '0.95', 'an emergency alert when so much of the week is used'],
  ['daily_spend_usd', 'money', '50', 'a warning when a day costs so much; 0 is off'],
  ['tier_warning', 'part', '0.80', 'a warning when so much of the tier’s month is used'],
  ['quiet_hours', 'text', '', 'when warnings wait, such as 22:00-07:00; empty is never'],
  ['runaway', 'choice', 'tell', 'what happens to a session that runs away'],
]
const GATEWAY: Given[] = [
  ['listen', 'text', '127.0.0.1:8432', 'IP address and port'],
  ['max_wait', 'duration', '600s', 'how long a call waits at most', '5m'],
  ['timezone', 'text', 'system', 'by which days, weeks and months count'],
]
const CACHE: Given[] = [
  ['enabled', 'switch', 'false', 'on or off'],
  ['ttl', 'duration', '1h', 'how long an answer is kept'],
]

const change = (path: string, value: string) => ({ path, value })
const PRESETS: PresetView[] = [
  { name: 'solo', title: 'Solo', help: 'One person with Claude Code and scripts: a day can’t cost more than $50, warnings wait for the morning.', changes: [change('budget[scope=machine].daily_usd', '50'), change('alerts.daily_spend_usd', '25'), change('alerts.quiet_hours', '22:00-07:00')] },
  { name: 'saas', title: 'SaaS backend', help: 'Customers wait for answers: nobody waits longer than 30 s, an emergency begins sooner.', changes: [change('gateway.max_wait', '30s'), change('alerts.daily_spend_usd', '100')] },
  { name: 'batch', title: 'Batch', help: 'Jobs that nobody waits for: calls wait up to an hour, the same call is answered once.', changes: [change('gateway.max_wait', '3600s'), change('cache.enabled', 'true'), change('budget[scope=machine].weekly_usd', '250')] },
]

export class SettingsFile {
  state: SettingsStateView = { state: 'in_force', problem: null, waits_for_restart: [] }
  private version = 1
  private sections: SettingsSectionView[] = [
    section('budget', 'scope', true, 'What may be spent by whom.', AMOUNTS('client:nightly', undefined, '60'), 1),
    section('budget', 'scope', true, 'What may be spent by whom.', AMOUNTS('machine', '120', '1500', 'true'), 2),
    section('alerts', null, true, 'From where on the shipped rules tell you.', ALERTS),
    section('alert', 'name', true, 'Rules of your own beside the shipped ones.', RULE('spend.day.project:shop', '20, 40'), 1),
    section('gateway', null, false, 'Where calls come in, and how long they wait.', GATEWAY),
    section('cache', null, false, 'Gives the same call the same answer again, at no cost.', CACHE),
  ]

  view(): SettingsView {
    return structuredClone({ file: FILE, hash: String(this.version), sections: this.sections, wrong: [], presets: PRESETS })
  }

  set(changes: SettingChange[], hash: string | null): SettingsSetView {
    if (hash !== null && hash !== String(this.version)) throw 'the settings file was changed by someone else: look at it again, then change it'
    const refused = changes.flatMap((one) => this.refusal(one))
    if (refused.length === 0) {
      for (const { path, value } of changes) this.change(path, value)
      this.version++
    }
    return { file: FILE, hash: String(this.version), refused }
  }

  restart() {
    this.state = { state: 'in_force', problem: null, waits_for_restart: [] }
  }

  private refusal({ path, value }: SettingChange): RefusedView[] {
    const key = path.split('.').at(-1) ?? ''
    const form = this.field(path)?.form ?? (key.endsWith('_usd') ? 'money' : 'text')
    if (value === null || !NUMBERS.includes(form) || /^\d+(\.\d+)?$/.test(value)) return []
    return [{ path, line: 7, reason: `${key} must be ${form === 'money' ? 'an amount in dollars, 0 or more' : 'a number from 0 to 1'}, for example ${key} = ${form === 'money' ? 20 : 0.8}` }]
  }
  private field = (path: string): SettingFieldView | undefined => this.sections.flatMap((one) => one.fields).find((one) => one.path === path)

  private change(path: string, value: string | null) {
    const gone = this.sections.findIndex((one) => one.path === path)
    if (gone >= 0) return void this.sections.splice(gone, 1)
    const field = this.field(path) ?? this.added(path)
    if (field) field.value = value
    const section = this.sections.find((one) => one.fields.includes(field as SettingFieldView))
    if (section && !section.is_live) this.state = { state: 'changed', problem: null, waits_for_restart: [...new Set([...this.state.waits_for_restart, section.name])] }
  }
  private added(path: string): SettingFieldView | undefined {
    const [, name = '', quoted = '', key] = /^(\w+)\[\w+="(.*)"\]\.(\w+)$/.exec(path) ?? []
    if (!name) return undefined
    const id = quoted.replace(/\\(.)/g, '$1')
    const place = this.sections.filter((one) => one.name === name).length + 1
    const known = this.sections.find((one) => one.name === name && one.fields.some((field) => field.key === one.id && field.value === id))
    const fresh = known ?? section(name, name === 'budget' ? 'scope' : 'name', true, '', name === 'budget' ? AMOUNTS(id) : RULE('', ''), place)
    if (!known) {
      if (name === 'alert' && fresh.fields[0]) fresh.fields[0].value = id
      this.sections.push(fresh)
    }
    return fresh.fields.find((field) => field.key === key)
  }
}

function section(name: string, id: string | null, is_live: boolean, help: string, fields: Given[], place?: number): SettingsSectionView {
  const path = place ? `${name}[#${place}]` : name
  const field = ([key, form, usual, help, value]: Given): SettingFieldView => ({ path: `${path}.${key}`, key, form, choices: CHOICES[key] ?? [], value: value ?? null, default: usual, unit: UNITS[form] ?? '', range: '', help })
  return { name, path, id, is_written: true, is_live, help, fields: fields.map(field) }
}
const CHOICES: Record<string, string[]> = { runaway: ['tell', 'pause'], severity: ['info', 'warning', 'critical', 'emergency'] }
