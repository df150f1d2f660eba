// A browser on the built UI, behind the policy that the window has.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'

const UI = fileURLToPath(new URL('../../ui/', import.meta.url))
const require = createRequire(join(UI, 'package.json'))
const { build, createServer, preview } = await import(pathToFileURL(require.resolve('vite')))
const { chromium } = require('playwright-core')
const axeSource = require.resolve('axe-core/axe.min.js')

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** Starts the UI as it is built for a browser. `gateway`: the address of a `tidegate serve --api` to show. */
export async function stage(gateway) {
  if (gateway) process.env.TIDEGATE_URL = gateway
  process.chdir(UI)
  const outDir = mkdtempSync(join(tmpdir(), 'tidegate-ui-'))
  const common = { root: UI, mode: 'browser', logLevel: 'error' }
  await build({ ...common, build: { outDir, emptyOutDir: true } })
  const server = await preview({ ...common, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } })
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: QUIET })
  return {
    url: server.resolvedUrls.local[0],
    browser,
    async strike() {
      await browser.close()
      await server.close()
      rmSync(outDir, { recursive: true, force: true })
    },
  }
}

/** The key of each view, and a text that stands there once it has its answers. */
export const KEYS = { overview: '1', usage: '2', queue: '3', limits: '4', alerts: '5', clients: '6', settings: '7', help: '?' }
export const READY = { overview: 'Spend', usage: 'Figures of these days', queue: 'Reservations', limits: 'Published tiers', alerts: 'Send a test', clients: 'Its key is in', settings: 'Data folder', help: 'Pages of the upstream' }

/** A page whose errors and policy violations are kept in `page.faults`. */
export async function open({ url, browser }, where = '?fake=busy', { now, ...options } = {}) {
  const page = await browser.newPage({ viewport: { width: 1100, height: 760 }, ...options })
  if (now) await page.clock.install({ time: now })
  page.faults = []
  page.on('pageerror', (error) => page.faults.push(String(error)))
  page.on('console', (line) => line.type() === 'error' && page.faults.push(line.text()))
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))
  })
  await page.goto(url + where)
  return page
}

/** Goes to a view by its key, and waits until it has what it is read for. */
export async function see(page, view) {
  await page.getByRole('navigation').waitFor()
  await page.keyboard.press(KEYS[view])
  await page.locator('main').getByText(READY[view]).first().waitFor()
}

/** What axe objects to. */
export async function axe(page) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.addScriptTag({ path: axeSource })
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
  return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`)
}

/** Presses Tab until something of that name has the focus. */
export async function tabTo(page, name) {
  const reached = []
  for (let n = 0; n < 160; n++) {
    await page.keyboard.press('Tab')
    const found = await page.evaluate(() => {
      const { activeElement: at } = document
      const label = ['INPUT', 'SELECT'].includes(at?.tagName) ? at.closest('label')?.textContent : at?.textContent
      return (at?.getAttribute('aria-label') ?? label ?? at?.tagName ?? '').trim().split('\n')[0]
    })
    if (name instanceof RegExp ? name.test(found) : found.startsWith(name)) return
    reached.push(found)
  }
  throw new Error(`Tab never reached ${name}, only ${[...new Set(reached)].join(' | ')}`)
}

/** The built window, as it is shipped: its scripts and styles, packed. */
export async function gzipped() {
  const outDir = mkdtempSync(join(tmpdir(), 'tidegate-dist-'))
  process.chdir(UI)
  await build({ root: UI, logLevel: 'error', build: { outDir, emptyOutDir: true } })
  const files = readdirSync(outDir, { recursive: true }).filter((file) => /\.(js|css|html|svg)$/.test(file))
  const sizes = Object.fromEntries(files.map((file) => [file, gzipSync(readFileSync(join(outDir, file))).length]))
  rmSync(outDir, { recursive: true, force: true })
  return sizes
}

/** The UI's modules without a browser. */
export async function source() {
  const server = await createServer({ root: UI, configFile: join(UI, 'vite.config.ts'), logLevel: 'error', server: { middlewareMode: true, ws: false } })
  return { load: (path) => server.ssrLoadModule(path), close: () => server.close() }
}
