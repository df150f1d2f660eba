// Text from elsewhere can't turn around the sentence that it stands in.

/** Marks that change the direction of what follows. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g

export function tame<T>(view: T): T {
  if (typeof view === 'string') return view.replace(TURNING, '\ufffd') as T
  if (Array.isArray(view)) return view.map(tame) as T
  if (view !== null && typeof view === 'object') return Object.fromEntries(Object.entries(view).map(([name, value]) => [name, tame(value)])) as T
  return view
}
