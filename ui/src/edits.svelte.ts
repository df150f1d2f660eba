// Changes to the settings file that are not written yet, on top of the file as it was shown.

import { Asked, said } from './asked.svelte'
import type { RefusedView } from './bindings/RefusedView'
import type { SettingFieldView } from './bindings/SettingFieldView'
import type { SettingsSectionView } from './bindings/SettingsSectionView'
import type { SettingsView } from './bindings/SettingsView'
import type { Host } from './host'
import { picked } from './settings'

export class Edits {
  readonly file = new Asked<SettingsView>()
  /** By path; null takes the setting out of the file. */
  changed = $state<Record<string, string | null>>({})
  refused = $state.raw<RefusedView[]>([])
  problem = $state('')
  busy = $state(false)
  #host: Host

  constructor(host: Host) {
    this.#host = host
  }

  get count(): number {
    return Object.keys(this.changed).length
  }
  load = () => this.file.load(() => this.#host.settings())

  sections(name: string): SettingsSectionView[] {
    return (this.file.value?.sections ?? []).filter((one) => one.name === name)
  }
  /** As it will be. */
  value(field: SettingFieldView): string {
    const to = this.changed[field.path]
    return (to === undefined ? field.value : to) ?? ''
  }
  isChanged = (field: SettingFieldView) => field.path in this.changed
  why = (path: string) => this.refused.find((one) => one.path === path)
  /** Those that no field can show. */
  get elsewhere(): RefusedView[] {
    return this.refused.filter((one) => one.path === null)
  }

  /** Nothing means that the default holds. */
  set(field: SettingFieldView, value: string) {
    const to = value.trim() === '' ? null : value
    if (to === field.value) delete this.changed[field.path]
    else this.changed[field.path] = to
  }
  /** A setting by its path, `budget[scope=machine].daily_usd` too: in its field where the file has one. */
  put(path: string, value: string | null) {
    const { field, full } = this.#place(path)
    if (field) this.set(field, value ?? '')
    else this.changed[full] = value
  }
  /** As the file has it. */
  leave(path: string) {
    const { field, full } = this.#place(path)
    delete this.changed[field?.path ?? full]
  }
  /** Whether that is what it will be. */
  isTo(path: string, value: string | null): boolean {
    const { field, full } = this.#place(path)
    return (field ? this.value(field) : (this.changed[full] ?? '')) === (value ?? '')
  }
  #place(path: string): { field?: SettingFieldView; full: string } {
    const [, name = '', key = '', id = '', last = ''] = /^(\w+)\[(\w+)=([^\]]+)\]\.(\w+)$/.exec(path) ?? []
    const of = this.sections(name).find((section) => section.fields.some((field) => field.key === key && field.value === id))
    const all = of?.fields ?? this.file.value?.sections.flatMap((section) => section.fields) ?? []
    return { field: all.find((one) => (of ? one.key === last : one.path === path)), full: name ? `${picked(name, key, id)}.${last}` : path }
  }
  /** One of several sections goes, or stays after all. */
  remove(section: SettingsSectionView, gone: boolean) {
    if (gone) this.changed[section.path] = null
    else delete this.changed[section.path]
  }
  isGone = (section: SettingsSectionView) => this.changed[section.path] === null
  discard = () => {
    this.changed = {}
    this.refused = []
    this.problem = ''
  }

  /** Whether it is written now. */
  save = async (): Promise<boolean> => {
    this.busy = true
    const changes = Object.entries(this.changed).map(([path, value]) => ({ path, value }))
    try {
      const done = await this.#host.setSettings(changes, this.file.value?.hash ?? null)
      this.refused = done.refused
      this.problem = ''
      if (done.refused.length === 0) {
        this.discard()
        await this.load()
      }
      return done.refused.length === 0
    } catch (error) {
      this.problem = said(error)
      return false
    } finally {
      this.busy = false
    }
  }
}
