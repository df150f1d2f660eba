// The one port through which the UI reaches the application. A view never asks anything else.

import type { ConnectedKeyView } from './bindings/ConnectedKeyView'
import type { StatusView } from './bindings/StatusView'
import type { ExportQuestion, Questions } from './questions'

export interface Host extends Questions {
  /** Tells each new state, and why none comes while none comes. Returns what ends it. */
  watch(seen: (status: StatusView) => void, lost: (reason: string) => void): () => void
  /** Something outside of the page wants the keyboard there: `export`. Returns what ends it. */
  reached?(wanted: (what: string) => void): () => void
  /** Writes CSV into the user's downloads and answers which file it is; nothing is written where it is stopped. */
  exportCsv(question: ExportQuestion): Promise<string>
  /** Only the window can change what the gateway stands on. */
  readonly setup?: Setup
}

/** Whether the window starts with the system, and by which file. */
export interface Autostart {
  on: boolean
  file: string
}

export interface Setup {
  startDemo(): Promise<void>
  stopDemo(): Promise<void>
  /** Tries it; into the keychain where it is taken or wanted anyway. It never comes back from there. */
  setKey(secret: string, anyway: boolean): Promise<ConnectedKeyView>
  /** Null where the system has no such thing. */
  autostart(): Promise<Autostart | null>
  setAutostart(on: boolean): Promise<void>
  /** Listens on a port that is free; answers the address. */
  listenElsewhere(): Promise<string>
  /** Begins anew with the settings as their file has them. */
  restart(): Promise<void>
  /** The settings file, with the program that the system has for it. */
  openSettings(): Promise<void>
  /** Whether the tray and notifications show no amounts either. */
  amountsHidden(): Promise<boolean>
  hideAmounts(on: boolean): Promise<void>
  /** A page of the upstream, in the user's browser. */
  openPage(url: string): Promise<void>
}

export async function connect(): Promise<Host> {
  if (import.meta.env.MODE !== 'production' && !('__TAURI_INTERNALS__' in window)) {
    const token = new URLSearchParams(location.hash.slice(1)).get('token')
    if (token) return (await import('./host/http')).httpHost(token)
    return (await import('./host/fake')).fakeHost(new URLSearchParams(location.search).get('fake') ?? 'busy')
  }
  return (await import('./host/tauri')).tauriHost()
}
