// What the made-up machine has beside its books: logs, Claude Code's settings, keys.

import type { ClaudeCodeDoneView } from '../../bindings/ClaudeCodeDoneView'
import type { ClaudeCodeView } from '../../bindings/ClaudeCodeView'
import type { ExportProgressView } from '../../bindings/ExportProgressView'
import type { ImportView } from '../../bindings/ImportView'
import type { KeyTestView } from '../../bindings/KeyTestView'
import type { ProgressView } from '../../bindings/ProgressView'
import type { SourcesView } from '../../bindings/SourcesView'
import type { UpstreamKeyView } from '../../bindings/UpstreamKeyView'
import type { Autostart } from '../../host'
import type { ExportQuestion } from '../../questions'

const BYTES = 812_000_000
const CALLS = 10_412
const STEP_MS = 120
const FILE = '/home/mira/.claude/settings.json'

/** By how a key begins: `sk-ant-` is taken, `off` finds nobody, all else is refused. */
export function verdict(secret: string): KeyTestView {
  const host = 'api.anthropic.com'
  if (secret.startsWith('sk-ant-')) return { upstream: 'anthropic', verdict: 'taken', said: `the key works at ${host}` }
  if (secret.startsWith('off')) return { upstream: 'anthropic', verdict: 'unreachable', said: `there is no way to ${host} from here (no route to host): the key is not tried yet` }
  return { upstream: 'anthropic', verdict: 'refused', said: `the key is not known at ${host} (401): copy it again, or make a new one` }
}

export class Here {
  sessions = 412
  watched = false
  progress: ProgressView | null = null
  written: ExportProgressView | null = null
  autostart: Autostart = { on: false, file: '/home/mira/.config/autostart/tidegate-desktop.desktop' }
  private stopping = false
  private client: string | null = null

  sources(): SourcesView {
    const none = this.sessions === 0
    return { folders: none ? [] : ['/home/mira/.claude'], sessions: this.sessions, bytes: none ? 0 : BYTES, days: none ? 0 : 31, watched: this.watched }
  }
  async read(): Promise<ImportView> {
    this.stopping = false
    for (let part = 0; part <= 8; part++) {
      this.progress = { bytes: (BYTES * part) / 8, bytes_total: BYTES, calls: Math.round((CALLS * part) / 8) }
      await new Promise((done) => setTimeout(done, STEP_MS))
      if (!this.stopping) continue
      this.progress = null
      throw 'stopped: what was read stays, and the next import goes on from there'
    }
    this.progress = null
    const skipped = { unreadable_lines: 0, too_long_lines: 0, lines_from_the_future: 0, torn_lines: 1, links: 0, files: 0, too_old: 0 }
    return { files: this.sessions, files_read: this.sessions, bytes: BYTES, lines: 90_000, calls: CALLS, revised: 0, superseded: 31, limits_reached: 0, skipped, named: [] }
  }
  async write({ what, from, to, columns, by }: ExportQuestion, slow: boolean): Promise<string> {
    this.stopping = false
    for (let part = 0; slow && part <= 8; part++) {
      this.written = { lines: (CALLS * part) / 8, of: CALLS }
      await new Promise((done) => setTimeout(done, STEP_MS))
      if (!this.stopping) continue
      this.written = null
      throw 'stopped: nothing is written'
    }
    this.written = null
    return `/home/mira/Downloads/tidegate-${[what, by, from, to].filter(Boolean).join('-')}${columns ? `-of-${columns.split(',').length}` : ''}.csv`
  }
  stop() {
    this.stopping = true
  }
  keys(upstreams: string[]): UpstreamKeyView[] {
    return upstreams.filter((name) => name !== 'simulator').map((upstream) => ({ upstream, kept_in: 'keychain:anthropic', last_four: 'x7Qa', trouble: null, can_be_tested: true }))
  }
  claudeCode(): ClaudeCodeView {
    const line = (sign: string, text: string) => ({ sign, text })
    const lines = [line(' ', '"env": {'), line('-', '  "ANTHROPIC_BASE_URL": "https://gateway.example.com"'), line('+', '  "ANTHROPIC_BASE_URL": "http://127.0.0.1:8432"'), line('+', '  "ANTHROPIC_AUTH_TOKEN": "tg-•••"'), line(' ', '}')]
    const notes = ['Its calls are then billed to your API key, not to a subscription.', 'Sessions that run now go on as they are until they are started anew.']
    return { file: FILE, connected: this.client !== null, client: this.client, lines, refused: null, notes, seen: 'a' }
  }
  connect(add: (name: string) => string): ClaudeCodeDoneView {
    add((this.client = 'claude-code-2'))
    return { file: FILE, client: this.client, backup: `${FILE}.before-tidegate`, left: [] }
  }
  disconnect(): ClaudeCodeDoneView {
    this.client = null
    return { file: FILE, client: null, backup: null, left: [] }
  }
}
