// The application in this very process, over Tauri's IPC.

import { invoke } from '@tauri-apps/api/core'
import { listen } from '@tauri-apps/api/event'
import type { ClientView } from '../bindings/ClientView'
import type { StatusView } from '../bindings/StatusView'
import type { Host } from '../host'

export function tauriHost(): Host {
  return {
    watch(seen, lost) {
      const listening = listen<StatusView>('status', ({ payload }) => seen(payload))
      invoke<StatusView>('status').then(seen, (error) => lost(String(error)))
      return () => void listening.then((end) => end())
    },
    clients: () => invoke<ClientView[]>('clients'),
    addClient: (name, priority) => invoke<string>('add_client', { name, priority }),
    revokeClient: (name) => invoke('revoke_client', { name }),
    pause: (which) => invoke('pause', { class: which }),
    resume: (which) => invoke('resume', { class: which }),
    enterEmergency: () => invoke('enter_emergency'),
    leaveEmergency: () => invoke('leave_emergency'),
    setup: {
      startDemo: () => invoke('start_demo'),
      stopDemo: () => invoke('stop_demo'),
      setKey: (secret) => invoke('set_key', { secret }),
      listenElsewhere: () => invoke<string>('listen_elsewhere'),
    },
  }
}
