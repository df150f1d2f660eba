// What this window keeps from one start to the next; where nothing may be kept it holds until the page is loaded anew.

export function kept(name: string): string | null {
  try {
    return localStorage.getItem(`tidegate.${name}`)
  } catch {
    return null
  }
}

export function keep(name: string, value: string) {
  try {
    localStorage.setItem(`tidegate.${name}`, value)
  } catch {
    // There is nothing to be done about it.
  }
}
