// The views, in the order of their keys.

export type View = 'overview' | 'usage' | 'queue' | 'limits' | 'alerts' | 'clients' | 'settings' | 'help'

export const VIEWS: { view: View; label: string; key: string; glyph: string }[] = [
  { view: 'overview', label: 'Overview', key: '1', glyph: 'M2 12h3l2-6 3 9 2-5h3' },
  { view: 'usage', label: 'Usage', key: '2', glyph: 'M3 14V9M7 14V4M11 14V7M15 14v-3' },
  { view: 'queue', label: 'Queue', key: '3', glyph: 'M2 4.5h13M2 8.5h9M2 12.5h5' },
  { view: 'limits', label: 'Limits', key: '4', glyph: 'M2.5 13a6 6 0 1 1 12 0M8.5 13l3-5' },
  { view: 'alerts', label: 'Alerts', key: '5', glyph: 'M8.5 2.5 15 14H2zM8.5 7v3.5M8.5 12v.5' },
  { view: 'clients', label: 'Clients', key: '6', glyph: 'M3 4h11v7H3zM6 14h5M8.5 11v3' },
  { view: 'settings', label: 'Settings', key: '7', glyph: 'M2 5h7M13 5h2M11 3v4M2 12h2M8 12h7M6 10v4' },
  { view: 'help', label: 'Help', key: '?', glyph: 'M6 6.5a2.5 2.5 0 1 1 2.5 2.5v1.500M8.500 13v.5' },
]

export function viewOf(key: string): View | undefined {
  return VIEWS.find((one) => one.key === key)?.view
}
