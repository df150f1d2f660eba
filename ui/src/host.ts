// The one port through which the UI reaches the application. A view never asks anything else.

import type { ClientView } from './bindings/ClientView'
import type { StatusView } from './bindings/StatusView'

export type Class = 'critical' | 'normal' | 'background'

export interface Host {
  /** Tells each new state, and why none comes while none comes. Returns what ends it. */
  watch(seen: (status: StatusView) => void, lost: (reason: string) => void): () => void
  clients(): Promise<ClientView[]>
  /** Answers the token, which is told this once. */
  addClient(name: string, priority: Class): Promise<string>
  revokeClient(name: string): Promise<void>
  pause(which: Class): Promise<void>
  resume(which: Class): Promise<void>
  /** Saves what is scarce for critical calls, until it is left. */
  enterEmergency(): Promise<void>
  leaveEmergency(): Promise<void>
  /** Only the window can change what the gateway stands on. */
  readonly setup?: Setup
}

export interface Setup {
  startDemo(): Promise<void>
  stopDemo(): Promise<void>
  /** Into the keychain; it never comes back from there. */
  setKey(secret: string): Promise<void>
  /** Listens on a port that is free; answers the address. */
  listenElsewhere(): Promise<string>
}

export async function connect(): Promise<Host> {
  if (import.meta.env.MODE !== 'production' && !('__TAURI_INTERNALS__' in window)) {
    const token = new URLSearchParams(location.hash.slice(1)).get('token')
    if (token) return (await import('./host/http')).httpHost(token)
    return (await import('./host/fake')).fakeHost(new URLSearchParams(location.search).get('fake') ?? 'busy')
  }
  return (await import('./host/tauri')).tauriHost()
}
