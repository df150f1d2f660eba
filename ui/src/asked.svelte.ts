// An answer that is on its way: what came last stays until the next one comes, and a later question wins.

export class Asked<T> {
  value = $state.raw<T | null>(null)
  /** Why the latest question has no answer. */
  problem = $state('')
  busy = $state(false)
  /** By the clock that never jumps. */
  at = $state(0)
  #latest = 0

  async load(question: () => Promise<T>): Promise<void> {
    const mine = ++this.#latest
    this.busy = true
    const [value, problem] = await question().then((value) => [value, ''] as const, (error: unknown) => [null, said(error)] as const)
    if (mine !== this.#latest) return
    if (!problem) [this.value, this.at] = [value, performance.now()]
    this.problem = problem
    this.busy = false
  }
}

/** Asks now, and again from time to time while the window is seen. Returns what ends it. */
export function asking(ask: () => unknown, everyMs = 60_000): () => void {
  void ask()
  const timer = setInterval(() => document.hidden || void ask(), everyMs)
  return () => clearInterval(timer)
}

/** The sentence in an error. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
