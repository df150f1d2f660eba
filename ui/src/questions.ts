// What a view may ask, each with the answer that it gets. The shells differ only in how a question travels.

import type { AlertView } from './bindings/AlertView'
import type { CallView } from './bindings/CallView'
import type { ClaudeCodeDoneView } from './bindings/ClaudeCodeDoneView'
import type { ClaudeCodeView } from './bindings/ClaudeCodeView'
import type { ClientView } from './bindings/ClientView'
import type { CourseQuestion } from './bindings/CourseQuestion'
import type { CourseView } from './bindings/CourseView'
import type { DaysView } from './bindings/DaysView'
import type { ExplainView } from './bindings/ExplainView'
import type { ExportProgressView } from './bindings/ExportProgressView'
import type { FactsView } from './bindings/FactsView'
import type { ImportView } from './bindings/ImportView'
import type { KeyTestView } from './bindings/KeyTestView'
import type { MinutesQuestion } from './bindings/MinutesQuestion'
import type { MinutesView } from './bindings/MinutesView'
import type { ProgressView } from './bindings/ProgressView'
import type { ProtectionView } from './bindings/ProtectionView'
import type { PurchaseView } from './bindings/PurchaseView'
import type { RulesView } from './bindings/RulesView'
import type { SavingsView } from './bindings/SavingsView'
import type { SettingChange } from './bindings/SettingChange'
import type { SettingsSetView } from './bindings/SettingsSetView'
import type { SettingsView } from './bindings/SettingsView'
import type { SourcesView } from './bindings/SourcesView'
import type { TiersView } from './bindings/TiersView'
import type { UpstreamKeyView } from './bindings/UpstreamKeyView'
import type { UsageView } from './bindings/UsageView'
import type { WaitingView } from './bindings/WaitingView'
import type { WhatIfView } from './bindings/WhatIfView'
import type { WhyView } from './bindings/WhyView'
import { tame } from './tame'

export type Class = 'critical' | 'normal' | 'background'

/** One session or one client. */
export type Scope = `session:${string}` | `client:${string}`

/** Days and moments as the command line takes them. */
export interface Span {
  from: string | null
  to: string | null
}

export interface ExportQuestion extends Span {
  what: 'calls' | 'daily' | 'monthly' | 'alerts'
  client: string | null
  /** `call_id,cost_usd`; all where null. */
  columns: string | null
  /** `person,project`: of what the lines of days and months are sums; null as they are kept. */
  by: string | null
}

/** What is absent stays as it is; '' takes away, and so does a share of 100. */
export interface ClientChange {
  priority?: Class
  weight?: number
  person?: string
  project?: string
  daily_usd?: string
  weekly_usd?: string
  monthly_usd?: string
  max_share?: number
}

/** A command as the application reads it. */
export interface Command {
  command: string
  [argument: string]: unknown
}

export type Ask = <T>(command: Command) => Promise<T>

export function questions(raw: Ask) {
  const ask: Ask = <T>(command: Command) => raw<T>(command).then(tame)
  const done = (command: Command) => ask<unknown>(command).then(() => {})
  return {
    usage: (by: string, { from, to }: Span) => ask<UsageView>({ command: 'usage', by, from, to }),
    days: (by: string, { from, to }: Span) => ask<DaysView>({ command: 'usage_days', by, from, to }),
    explain: ({ from, to }: Span) => ask<ExplainView>({ command: 'explain', from, to }),
    /** The latest that ended in these days. */
    calls: (last: number, { from, to }: Span) => ask<CallView[]>({ command: 'calls', last, from, to }),
    why: (call_id: string) => ask<WhyView>({ command: 'why', call_id }),
    course: (of: CourseQuestion) => ask<CourseView>({ command: 'course', ...of }),
    savings: ({ from, to }: Span) => ask<SavingsView>({ command: 'savings', from, to, to_model: null }),
    minutes: (of: MinutesQuestion) => ask<MinutesView>({ command: 'minutes', ...of }),
    facts: () => ask<FactsView>({ command: 'facts' }),
    /** The names of the columns that this export would have. */
    exportColumns: (question: ExportQuestion) => ask<string[]>({ command: 'export_columns', question }),
    /** Null while none runs. */
    exportProgress: () => ask<ExportProgressView | null>({ command: 'export_progress' }),
    stopExport: () => done({ command: 'export_stop' }),
    protections: () => ask<ProtectionView[]>({ command: 'protections' }),
    settings: () => ask<SettingsView>({ command: 'settings_show' }),
    /** Written where the file is still the one that was shown with this hash and nothing is refused. */
    setSettings: (changes: SettingChange[], hash: string | null) => ask<SettingsSetView>({ command: 'settings_set', changes, hash }),
    /** Each forecast as it is, and as it would be with these changes. */
    whatIf: (changes: string[]) => ask<WhatIfView[]>({ command: 'what_if', changes }),

    queue: () => ask<WaitingView[]>({ command: 'queue' }),
    dropCall: (call: string) => done({ command: 'queue_drop', call }),
    raiseCall: (call: string) => done({ command: 'queue_raise', call }),
    release: (id: string, client: string) => done({ command: 'release', id, client }),
    pause: (which: Class | Scope) => done({ command: 'pause', class: which }),
    resume: (which: Class | Scope) => done({ command: 'resume', class: which }),

    alerts: () => ask<AlertView[]>({ command: 'alert_list' }),
    rules: () => ask<RulesView>({ command: 'alert_rules' }),
    /** Without a moment until the window that it is about begins anew. */
    raiseCap: (id: string) => done({ command: 'alert_raise_cap', id }),
    snoozeAlert: (id: string, until: string | null) => done({ command: 'alert_snooze', id, until }),
    testChannel: (channel: string) => done({ command: 'alert_test', channel }),
    /** Saves what is scarce for critical calls, until it is left. */
    enterEmergency: () => done({ command: 'emergency_on', reason: null }),
    leaveEmergency: () => done({ command: 'emergency_off' }),

    tiers: () => ask<TiersView>({ command: 'tier_list' }),
    /** Answers what was written down, or taken back. */
    addPurchase: (usd: string, date: string | null, upstream: string) => ask<PurchaseView[]>({ command: 'tier_purchase', usd, date, upstream }),
    removePurchase: (id: string) => ask<PurchaseView[]>({ command: 'tier_purchase_remove', id }),
    /** Below which balance the upstream buys how much by itself; null: nothing. */
    setReload: (reload: [string, string] | null, upstream: string) => done({ command: 'tier_reload', reload, upstream }),

    keys: () => ask<UpstreamKeyView[]>({ command: 'key_list' }),
    /** Tries a key of the settings with a free call. */
    testKey: (name: string) => ask<KeyTestView[]>({ command: 'key_test', name }),

    sources: () => ask<SourcesView>({ command: 'sources' }),
    importLogs: () => ask<ImportView>({ command: 'import_claude_code', paths: [] }),
    importProgress: () => ask<ProgressView | null>({ command: 'import_progress' }),
    stopImport: () => done({ command: 'import_stop' }),
    watchLogs: (on: boolean) => done({ command: 'watch_claude_code', paths: [], on }),
    claudeCode: () => ask<ClaudeCodeView>({ command: 'claude_code', folder: null }),
    /** `seen`: of the text whose change was shown. */
    connectClaudeCode: (seen: string | null) => ask<ClaudeCodeDoneView>({ command: 'claude_code_connect', folder: null, seen }),
    disconnectClaudeCode: () => ask<ClaudeCodeDoneView>({ command: 'claude_code_disconnect' }),

    clients: () => ask<ClientView[]>({ command: 'client_list' }),
    /** Answers the token, which is told this once. */
    addClient: (name: string, change: ClientChange) => ask<string>({ command: 'client_add', name, change }),
    setClient: (name: string, change: ClientChange) => done({ command: 'client_set', name, change }),
    revokeClient: (name: string) => done({ command: 'client_revoke', name }),
  }
}

export type Questions = ReturnType<typeof questions>
