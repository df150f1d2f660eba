// What may be done about an alert, here as on its notification.

import type { AlertView } from './bindings/AlertView'
import type { Host } from './host'
import type { Scope } from './questions'

export interface Deed {
  label: string
  /** What it is done to. */
  name: string
  /** The consequence, before the second press. */
  sure: string
  act: () => Promise<void>
}

/** `paused`: sessions and clients that are already. */
export function deeds(host: Host, alert: AlertView, paused: string[]): Deed[] {
  const [, session] = /^(?:pause|resume)_session:(.+)$/.exec(alert.action ?? '') ?? []
  const [, client] = /^client:(\S+)/.exec(alert.scope) ?? []
  const holds = (scope: Scope, name: string): Deed =>
    paused.includes(scope)
      ? { label: 'Let it go on', name, sure: 'Its calls go on: let them', act: () => host.resume(scope) }
      : { label: `Pause ${scope.split(':')[0]}`, name, sure: 'Its calls wait until you let it go on: pause it', act: () => host.pause(scope) }
  const raise = { label: 'Raise cap by half', name: `of ${client}`, sure: 'It may spend half more: raise it', act: () => host.raiseCap(alert.alert_id) }
  return [
    ...(session ? [holds(`session:${session}`, session)] : []),
    ...(client && alert.rule === 'budget' ? [raise] : []),
    ...(client ? [holds(`client:${client}`, client)] : []),
  ]
}
