// What the window knows right now: the latest state, its age, and the last minutes of it.

import { type Readable, readonly, writable } from 'svelte/store'
import type { StatusView } from './bindings/StatusView'
import { bindingFirst, name, used, waiting } from './headline'
import type { Host } from './host'

/** Faster than this a person can't read. */
const SHOWN_EVERY_MS = 250
const SAMPLE_EVERY_MS = 1_000
/** Five minutes. */
const SAMPLES_MAX = 300
/** Older than this a state is shown dimmed, with its age. */
export const STALE_AFTER_MS = 3_000

export interface Sample {
  /** Unix time, ms. */
  at: number
  /** Share in use of the limit that bound then, 0 to 1. */
  level: number
  limit: string
  waiting: number
}

export interface Live {
  status: StatusView | null
  /** Unix time in ms at which `status` came. */
  seenAt: number
  /** Why nothing comes. */
  lost: string | null
  samples: Sample[]
  /** Unix time, ms: `now` minus `seenAt` is the age of what is shown. */
  now: number
}

export function live(host: Host): { state: Readable<Live>; end: () => void } {
  const state = writable<Live>({ status: null, seenAt: 0, lost: null, samples: [], now: Date.now() })
  let newest: { status: StatusView; at: number } | null = null
  let lost: string | null = null

  const unwatch = host.watch(
    (status) => ((newest = { status, at: Date.now() }), (lost = null)),
    (reason) => (lost = reason),
  )
  const show = () => state.update((was) => next(was, newest, lost, Date.now()))
  const timer = setInterval(show, SHOWN_EVERY_MS)
  return { state: readonly(state), end: () => (clearInterval(timer), unwatch()) }
}

function next(was: Live, newest: { status: StatusView; at: number } | null, lost: string | null, now: number): Live {
  if (!newest) return { ...was, lost, now }
  const due = now - (was.samples.at(-1)?.at ?? 0) >= SAMPLE_EVERY_MS
  const fresh = newest.at > was.seenAt
  const samples = due && fresh ? [...was.samples, sample(newest.status, now)].slice(-SAMPLES_MAX) : was.samples
  return { status: newest.status, seenAt: newest.at, lost, samples, now }
}

function sample(status: StatusView, at: number): Sample {
  const [binding] = bindingFirst(status.limits)
  return {
    at,
    level: binding ? Math.min(1, used(binding)) : 0,
    limit: binding ? name(binding) : '',
    waiting: waiting(status),
  }
}
