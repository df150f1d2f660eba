// Pictures of every view, for eyes: target/pictures/VIEW-STATE-THEME.png. A test fails where a view does not come to rest.

import assert from 'node:assert/strict'
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEYS, open, READY, stage } from './support.mjs'

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url))
const FOLDER = join(TARGET, 'pictures')
const STATES = ['busy', 'empty', 'demo', 'emergency']
/** A Friday before noon in Berlin, so that a picture is the same tomorrow. */
const NOW = new Date('2026-11-27T10:24:00Z')

let ui
before(async () => {
  mkdirSync(FOLDER, { recursive: true })
  ui = await stage()
})
after(() => ui?.strike())

for (const view of Object.keys(KEYS)) {
  for (const state of STATES) {
    test(`${view}, ${state}`, async () => {
      for (const colorScheme of ['light', 'dark']) {
        const page = await open(ui, `?fake=${state}`, { viewport: { width: 1180, height: 860 }, colorScheme, reducedMotion: 'reduce', timezoneId: 'Europe/Berlin', now: NOW })
        await page.getByRole('navigation').waitFor()
        await page.keyboard.press(KEYS[view])
        await page.getByText(READY[view]).first().waitFor()
        await page.waitForTimeout(600)
        const path = join(FOLDER, `${view}-${state}-${colorScheme}.png`)
        await page.screenshot({ path })
        assert.deepEqual(page.faults, [])
        assert.ok(statSync(path).size > 10_000, 'there is something to see')
        await page.close()
      }
    })
  }
}

const STEPS = [
  ['begin', (page) => page.getByRole('button', { name: 'Connect my key' }).waitFor()],
  ['key', async (page) => {
    await page.getByRole('button', { name: 'Connect my key' }).click()
    await page.getByLabel('API key').fill('wrong')
    await page.getByRole('button', { name: 'Try and store it' }).click()
    await page.getByRole('button', { name: 'Keep anyway' }).waitFor()
  }],
  ['logs', async (page) => {
    await page.getByRole('button', { name: 'Skip this' }).click()
    await page.getByText('412 Claude Code sessions').waitFor()
  }],
  ['start', async (page) => {
    await page.getByRole('button', { name: 'Next' }).click()
    await page.getByRole('checkbox').waitFor()
  }],
  ['call', async (page) => {
    await page.getByRole('button', { name: 'Next' }).click()
    await page.getByRole('button', { name: 'Connect Claude Code…' }).click()
    await page.getByRole('list', { name: 'What changes' }).waitFor()
  }],
]

test('the first start, step by step', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(ui, '?fake=first', { viewport: { width: 1000, height: 700 }, colorScheme, reducedMotion: 'reduce', timezoneId: 'Europe/Berlin' })
    for (const [name, reach] of STEPS) {
      await reach(page)
      const path = join(FOLDER, `welcome-${name}-${colorScheme}.png`)
      await page.screenshot({ path })
      assert.ok(statSync(path).size > 5_000, 'there is something to see')
    }
    assert.deepEqual(page.faults, [])
    await page.close()
  }
})
