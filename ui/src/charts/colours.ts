// Colours of the page, for charts that draw on a canvas.

export const COLOURS = ['ink', 'muted', 'line', 'panel', 'tide', 'tide-soft', 'warn', 'critical', 'series-2'] as const
export type Colours = Record<(typeof COLOURS)[number], string> & { font: string }

export function colours(): Colours {
  const css = getComputedStyle(document.documentElement)
  const found = COLOURS.map((name) => [name, css.getPropertyValue(`--${name}`).trim()])
  const family = getComputedStyle(document.body).fontFamily || 'sans-serif'
  return { ...(Object.fromEntries(found) as Record<(typeof COLOURS)[number], string>), font: `11px ${family}` }
}

/** The same with so much of it to be seen, from 0 to 1. */
export function faint(colour: string, share: number): string {
  return `${colour}${Math.round(share * 255).toString(16).padStart(2, '0')}`
}
