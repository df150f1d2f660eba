// The settings of a real gateway, changed in the page: the file keeps its comments, and the next call meets the budget.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { axe, KEYS, open, READY, stage } from './support.mjs'

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url))
const PROGRAM = process.env.TIDEGATE_BIN ?? join(TARGET, 'debug', 'tidegate')
const SETTINGS = `# of this test
[gateway]
timezone = "UTC" # where the week begins

[[budget]] # nightly jobs
scope = "client:nightly"
daily_usd = 5 # agreed

[[upstream]]
name = "sim"
kind = "simulator"
`

let home, gateway, ui, address, token
before(async () => {
  home = mkdtempSync(join(tmpdir(), 'tidegate-settings-'))
  const options = ['--data-dir', join(home, 'data'), '--settings', join(home, 'settings.toml')]
  writeFileSync(join(home, 'settings.toml'), SETTINGS, { mode: 0o600 })
  token = execFileSync(PROGRAM, [...options, 'client', 'add', 'ci'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  gateway = spawn(PROGRAM, [...options, 'serve', '--api', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  address = (await new Promise((resolve) => createInterface({ input: gateway.stdout }).once('line', resolve))).replace('listening on ', '')
  ui = await stage(address)
})
after(async () => {
  await ui?.strike()
  gateway?.kill('SIGKILL')
  rmSync(home, { recursive: true, force: true })
})

const text = () => readFileSync(join(home, 'settings.toml'), 'utf8')
function call() {
  const body = JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 16, messages: [{ role: 'user', content: 'hello' }] })
  return fetch(`${address}/v1/messages`, { method: 'POST', headers: { 'x-api-key': token, 'content-type': 'application/json', 'anthropic-version': '2023-06-01' }, body })
}

test('a budget that is set in the page stands in the file beside its comments, and refuses the next call', async () => {
  assert.equal((await call()).status, 200)
  const page = await open(ui, `#token=${readFileSync(join(home, 'data', 'api-token'), 'utf8').trim()}`, { bypassCSP: true })
  await page.getByRole('navigation').waitFor()
  await page.keyboard.press(KEYS.settings)
  await page.locator('main').getByText(READY.settings).first().waitFor()
  const [budgets, changes] = [page.getByRole('region', { name: 'Budgets' }), page.getByRole('form', { name: 'Changes' })]
  await budgets.getByLabel('$ a day of client:nightly').fill('-1')
  await changes.getByRole('button', { name: 'Save' }).click()
  await budgets.getByRole('alert').getByText('daily_usd in [[budget]] must be an amount in dollars, 0 or more, for example daily_usd = 20').waitFor()
  assert.equal(text(), SETTINGS, 'nothing is written')
  assert.deepEqual(await axe(page), [])
  await budgets.getByLabel('$ a day of client:nightly').fill('6')
  await budgets.getByLabel('Name').fill('ci')
  await budgets.getByLabel('$', { exact: true }).fill('0.000001')
  await budgets.getByRole('button', { name: 'Add budget' }).click()
  await changes.getByRole('button', { name: 'Save' }).click()
  await page.getByText('2 changes are written.').waitFor()
  const added = '\n[[budget]]\nscope = "client:ci"\ndaily_usd = 0.000001\n'
  assert.equal(text(), SETTINGS.replace('= 5 #', '= 6 #').replace('# agreed\n', `# agreed\n${added}`))
  const refused = await call()
  assert.deepEqual([refused.status, (await refused.json()).error.details.error_code], [429, 'tidegate_budget_reached'])
  // Chromium tells of an answer with 400 by itself: the refusal above was one.
  assert.deepEqual(page.faults.filter((fault) => !fault.includes('400')), [])
  await page.close()
})
