// What the window knows right now: the latest state, its age, and the last minutes of it.

import { type Readable, readonly, writable } from 'svelte/store'
import type { StatusView } from './bindings/StatusView'
import { bindingFirst, name, used, waiting } from './headline'
import type { Host } from './host'
import { tame } from './tame'

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
  /** How long ago that was, or that the first one was asked for, ms. It does not go by the time of day, which may be set. */
  age: number
  /** Why nothing comes. */
  lost: string | null
  samples: Sample[]
  /** When the latest of them was taken, by the clock that no one sets. */
  sampledAt: number
}

interface News {
  status: StatusView
  /** Unix time, ms. */
  at: number
  /** By the clock that no one sets, ms. */
  ticks: number
}

export function live(host: Host): { state: Readable<Live>; again: () => void; end: () => void } {
  const state = writable<Live>({ status: null, seenAt: 0, age: 0, lost: null, samples: [], sampledAt: -Infinity })
  const begun = performance.now()
  let newest: News | null = null
  let lost: string | null = null

  const watch = () =>
    host.watch(
      (status) => ((newest = { status: tame(status), at: Date.now(), ticks: performance.now() }), (lost = null)),
      (reason) => (lost = reason),
    )
  let unwatch = watch()
  const show = () => state.update((was) => ({ ...next(was, newest), lost, age: performance.now() - (newest?.ticks ?? begun) }))
  const timer = setInterval(show, SHOWN_EVERY_MS)
  return { state: readonly(state), again: () => (unwatch(), (unwatch = watch())), end: () => (clearInterval(timer), unwatch()) }
}

function next(was: Live, newest: News | null): Live {
  if (!newest) return was
  const { status, at: seenAt, ticks } = newest
  if (ticks - was.sampledAt < SAMPLE_EVERY_MS) return { ...was, status, seenAt }
  // After the time of day was set back there is nothing later than now.
  const past = was.samples.filter((one) => one.at < seenAt)
  return { ...was, status, seenAt, samples: [...past, sample(status, seenAt)].slice(-SAMPLES_MAX), sampledAt: ticks }
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
