// The application in this very process, over Tauri's IPC.

import { invoke } from '@tauri-apps/api/core'
import { listen } from '@tauri-apps/api/event'
import type { StatusView } from '../bindings/StatusView'
import type { Host } from '../host'
import { type Command, questions } from '../questions'

interface Answer {
  answer: string
  value?: unknown
}

async function ask<T>(command: Command): Promise<T> {
  const { value } = await invoke<Answer>('ask', { command })
  return value as T
}

export function tauriHost(): Host {
  return {
    ...questions(ask),
    watch(seen, lost) {
      const listening = listen<StatusView>('status', ({ payload }) => seen(payload))
      invoke<StatusView>('status').then(seen, (error) => lost(String(error)))
      return () => void listening.then((end) => end())
    },
    reached(wanted) {
      const ask = () => void invoke<string | null>('wanted').then((what) => what && wanted(what))
      const listening = listen('reach', ask)
      void listening.then(ask)
      return () => void listening.then((end) => end())
    },
    exportCsv: (question) => invoke<string>('export', { question }),
    setup: {
      startDemo: () => invoke('start_demo'),
      stopDemo: () => invoke('stop_demo'),
      setKey: (secret, anyway) => invoke('set_key', { secret, anyway }),
      autostart: () => invoke('autostart'),
      setAutostart: (on) => invoke('set_autostart', { on }),
      listenElsewhere: () => invoke<string>('listen_elsewhere'),
      restart: () => invoke('restart_gateway'),
      openSettings: () => invoke('open_settings'),
      amountsHidden: () => invoke<boolean>('amounts_hidden'),
      hideAmounts: (on) => invoke('hide_amounts', { on }),
      openPage: (url) => invoke('open_page', { url }),
    },
  }
}
