// The UI on a running `tidegate serve --api`, which shows its demo.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEYS, open, READY, stage } from './support.mjs'

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url))
const PROGRAM = process.env.TIDEGATE_BIN ?? join(TARGET, 'debug', 'tidegate')
const FIRST_LINE_MS = 30_000

let home, gateway, ui
before(async () => {
  home = mkdtempSync(join(tmpdir(), 'tidegate-http-'))
  const options = ['--data-dir', join(home, 'data'), '--settings', join(home, 'settings.toml')]
  gateway = spawn(PROGRAM, [...options, 'serve', '--api', '--demo', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const address = (await firstLine(gateway)).replace('listening on ', '')
  ui = await stage(address)
})
after(async () => {
  await ui?.strike()
  gateway?.kill('SIGKILL')
  rmSync(home, { recursive: true, force: true })
})

function firstLine(program) {
  return new Promise((resolve, reject) => {
    createInterface({ input: program.stdout }).once('line', resolve)
    program.once('error', () => reject(new Error(`${PROGRAM} does not start: cargo build makes it`)))
    program.once('exit', (code) => reject(new Error(`the gateway ended with ${code}`)))
    setTimeout(() => reject(new Error('no first line')), FIRST_LINE_MS).unref()
  })
}

test('the page shows the calls of a real gateway, and only reads', async () => {
  const token = readFileSync(join(home, 'data', 'api-token'), 'utf8').trim()
  const page = await open(ui, `#token=${token}`)
  const today = page.locator('[data-fact="spend-today"]')
  await page.getByRole('region', { name: /Calls/ }).getByText('completed').first().waitFor()
  const before = await today.innerText()
  await page.waitForFunction((was) => document.querySelector('[data-fact="spend-today"]').innerText !== was, before)
  await page.getByRole('button', { name: 'Pause background' }).click()
  await page.getByRole('alert').getByText('This page only reads.').waitFor()
  assert.deepEqual(page.faults, [])
})

test('every view gets its answers from a real gateway, and a call tells why it cost what it cost', async () => {
  const token = readFileSync(join(home, 'data', 'api-token'), 'utf8').trim()
  const page = await open(ui, `#token=${token}`)
  await page.getByRole('region', { name: /Calls/ }).getByText('completed').first().waitFor()
  for (const [view, key] of Object.entries(KEYS)) {
    await page.keyboard.press(key)
    await page.locator('main').getByText(READY[view]).first().waitFor()
    assert.deepEqual(await page.getByRole('alert').allInnerTexts(), [], view)
  }
  await page.keyboard.press(KEYS.usage)
  await page.getByRole('heading', { level: 1, name: /^\$\d+\.\d+ for \d+ calls/ }).waitFor()
  await page.getByRole('button', { name: 'Why did this call cost that?' }).click()
  await page.getByRole('dialog').getByText(/Price .* read at/).waitFor()
  assert.deepEqual(page.faults, [])
  await page.close()
})

test('a wrong token shows why there is nothing', async () => {
  const page = await open(ui, '#token=tg-api-wrong')
  await page.getByText('The gateway answered 401 to status.').waitFor()
})
