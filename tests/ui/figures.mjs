// What the window takes to draw a year: its hours as a curve with a fan, its days in stacks, its hours of the week. The charts are the window's own.
// Usage: node tests/ui/figures.mjs

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

process.env.NODE_ENV = 'production'
const UI = fileURLToPath(new URL('../../ui/', import.meta.url))
const require = createRequire(join(UI, 'package.json'))
const { createServer } = await import(pathToFileURL(require.resolve('vite')))
const { chromium } = require('playwright-core')

process.chdir(UI)
// The page's own Svelte, by a name that it can ask for.
const SVELTE = '/svelte-of-the-page.js'
const asked = { name: 'figures', resolveId: (id) => (id === SVELTE ? id : null), load: (id) => (id === SVELTE ? "export { mount, unmount, flushSync } from 'svelte'" : null) }
const server = await createServer({ plugins: [asked], root: UI, mode: 'browser', logLevel: 'error', server: { port: 0, host: '127.0.0.1' } })
await server.listen()
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 760 }, bypassCSP: true })
  await page.goto(`${server.resolvedUrls.local[0]}?fake=empty`)
  await page.getByRole('navigation').waitFor()
  for (const [what, all] of Object.entries(await page.evaluate(drawn))) {
    const sorted = all.sort((a, b) => a - b)
    console.log(`${what}: median ${sorted[all.length >> 1].toFixed(1)} ms, worst ${sorted.at(-1).toFixed(1)} ms of ${all.length}`)
  }
} finally {
  await browser.close()
  await server.close()
}

/** Runs in the page. Each figure is a chart drawn from nothing, to a page that is laid out and a canvas that is painted: more than a redraw takes. */
async function drawn() {
  const [ROUNDS, HOUR, HOURS, ZONE] = [41, 3_600_000, 8_760, 'Europe/Berlin']
  const [{ mount, unmount, flushSync }, Fan, Days, HeatMap, { stacked }, { week }] = await Promise.all(
    ['/svelte-of-the-page.js', '/src/charts/Fan.svelte', '/src/charts/Days.svelte', '/src/charts/HeatMap.svelte', '/src/stack.ts', '/src/week.ts'].map((module) => import(module)),
  )
  const now = Math.floor(Date.now() / HOUR) * HOUR
  const iso = (at) => new Date(at).toISOString()
  const cost = (hour) => 1 + Math.sin(hour / 24) ** 2 + Math.sin(hour / 168)
  const hours = Array.from({ length: HOURS }, (_, hour) => ({ key: iso(now - (HOURS - hour) * HOUR), calls: 7, cost_usd: cost(hour).toFixed(9) }))
  let sum = 0
  const points = hours.map(({ key, cost_usd }) => ({ at: key, used: (sum += Number(cost_usd)).toFixed(9) }))
  const total = { p10: String(sum * 1.05), p50: String(sum * 1.1), p90: String(sum * 1.2) }
  const course = { unit: 'usd', since: points[0].at, resets_at: iso(now + 700 * HOUR), points, earlier: [] }
  const forecast = { window: 'year', unit: 'usd', limit: String(sum * 1.15), informative: true, total, left_at_reset: null, runs_out: { p10: null, p50: null, p90: null }, text: '', basis: '', exchange: null, score: null, p_runs_out: 0.5, resets_at: course.resets_at, upstream: null, scope: null }
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const days = Array.from({ length: 365 }, (_, day) => ({ day: iso(now - (365 - day) * 24 * HOUR).slice(0, 10), rows: names.map((key, at) => ({ key, calls: 9, cost_usd: cost(day * 24 + at).toFixed(9) })) }))
  const charts = {
    'a year of hours as a curve with a fan': [Fan.default, () => ({ course, forecast, zone: ZONE })],
    'a year of days in six stacks': [Days.default, () => ({ stack: stacked({ days }, 'none'), label: (name) => name, zone: ZONE })],
    'eight weeks of hours as hours of the week': [HeatMap.default, () => ({ week: week(hours.slice(-56 * 24), now, ZONE), zone: ZONE })],
  }
  const figures = {}
  for (const [what, [chart, props]] of Object.entries(charts)) {
    figures[what] = []
    for (let round = 0; round < ROUNDS; round++) {
      const place = document.body.appendChild(document.createElement('main'))
      await new Promise(requestAnimationFrame)
      const began = performance.now()
      const drawn = mount(chart, { target: place, props: props() })
      flushSync()
      await Promise.resolve()
      place.getBoundingClientRect()
      figures[what].push(performance.now() - began)
      if (place.textContent.length < 20) throw new Error(`${what}: nothing was drawn`)
      await unmount(drawn)
      place.remove()
    }
  }
  return figures
}
