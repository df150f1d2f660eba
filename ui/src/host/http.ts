// A running `tidegate serve --api`, through Vite's proxy.

import type { ClientView } from '../bindings/ClientView'
import type { StatusView } from '../bindings/StatusView'
import type { Host } from '../host'

const ASK_EVERY_MS = 500

export function httpHost(token: string): Host {
  async function ask<T>(path: string): Promise<T> {
    const response = await fetch(`/tidegate/${path}`, { headers: { authorization: `Bearer ${token}` } })
    if (!response.ok) throw new Error(`The gateway answered ${response.status} to ${path}.`)
    return (await response.json()) as T
  }
  const elsewhere = () => Promise.reject(new Error('This page only reads. Use the window or `tidegate`.'))

  return {
    watch(seen, lost) {
      const look = () => ask<StatusView>('status').then(seen, (error: unknown) => lost(String(error)))
      void look()
      const timer = setInterval(look, ASK_EVERY_MS)
      return () => clearInterval(timer)
    },
    clients: () => ask<ClientView[]>('clients'),
    addClient: elsewhere,
    revokeClient: elsewhere,
    pause: elsewhere,
    resume: elsewhere,
    enterEmergency: elsewhere,
    leaveEmergency: elsewhere,
  }
}
