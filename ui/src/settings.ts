// Settings in the words of a form.

import { amounts } from './amounts.svelte'
import type { SettingFieldView } from './bindings/SettingFieldView'

const UNITS = ['usd', 'ttl', 'url']
/** `daily_usd` → `Daily`, `token_warning` → `Token warning`. */
export function label(key: string): string {
  const words = key.replace(/_usd$/, '').split('_').join(' ')
  return UNITS.includes(words) ? words.toUpperCase() : words.charAt(0).toUpperCase() + words.slice(1)
}

/** Parts of one are shown in percent: `0.80` → `80`. What is no number stays as it is, and is refused as that. */
export function toForm(field: Pick<SettingFieldView, 'form'>, value: string): string {
  return field.form === 'part' ? scaled(value, 100) : value
}
export function fromForm(field: Pick<SettingFieldView, 'form'>, value: string): string {
  return field.form === 'part' ? scaled(value, 0.01) : value
}

function scaled(value: string, by: number): string {
  return /^\s*\d+(\.\d+)?\s*$/.test(value) ? String(Number((Number(value) * by).toFixed(6))) : value
}

/** What holds where nothing is written. */
export const usual = (field: SettingFieldView) => (field.form === 'money' && amounts.hidden ? '•••' : toForm(field, field.default))
export const unit = (field: SettingFieldView) => (field.form === 'part' ? '%' : field.unit)

/** A name between brackets of a path, whatever it holds. */
export const picked = (section: string, id: string, name: string) => `${section}[${id}="${name.replace(/[\\"]/g, (one) => `\\${one}`)}"]`
