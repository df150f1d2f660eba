// How the states of a call look: a shape beside each colour.

export const OUTCOMES: Record<string, { glyph: string; tone: string }> = {
  waiting: { glyph: '◷', tone: 'muted' },
  running: { glyph: '▸', tone: 'tide' },
  completed: { glyph: '●', tone: 'ok' },
  cancelled: { glyph: '○', tone: 'muted' },
  refused: { glyph: '△', tone: 'warn' },
  cut: { glyph: '△', tone: 'warn' },
  interrupted: { glyph: '△', tone: 'warn' },
  failed: { glyph: '◆', tone: 'critical' },
}
