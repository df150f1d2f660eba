// A browser on the built UI, behind the policy that the window has.

import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const UI = fileURLToPath(new URL('../../ui/', import.meta.url))
const require = createRequire(join(UI, 'package.json'))
const { build, createServer, preview } = await import(pathToFileURL(require.resolve('vite')))
const { chromium } = require('playwright-core')
export const axeSource = require.resolve('axe-core/axe.min.js')

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

/** A page whose errors and policy violations are kept in `page.faults`. */
export async function open({ url, browser }, where = '?fake=busy', options = {}) {
  const page = await browser.newPage({ viewport: { width: 1100, height: 760 }, ...options })
  page.faults = []
  page.on('pageerror', (error) => page.faults.push(String(error)))
  page.on('console', (line) => line.type() === 'error' && page.faults.push(line.text()))
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))
  })
  await page.goto(url + where)
  return page
}

/** The UI's modules without a browser. */
export async function source() {
  const server = await createServer({ root: UI, configFile: join(UI, 'vite.config.ts'), logLevel: 'error', server: { middlewareMode: true, ws: false } })
  return { load: (path) => server.ssrLoadModule(path), close: () => server.close() }
}
