// The main tasks without a mouse.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { KEYS, open, READY, stage, tabTo } from './support.mjs'

let ui, page
before(async () => (ui = await stage()))
after(() => ui?.strike())
afterEach(async () => {
  assert.deepEqual(page?.faults ?? [], [])
  await page?.close()
})

const press = (key) => page.keyboard.press(key)
async function go(view) {
  await page.getByRole('navigation').waitFor()
  await press(KEYS[view])
  await page.locator('main').getByText(READY[view]).first().waitFor()
}
async function choose(name) {
  await tabTo(page, name)
  await press('Enter')
}

test('from the first start to live calls', async () => {
  page = await open(ui, '?fake=first')
  await page.getByText('Try it with the simulator').waitFor()
  await choose('Try it with the simulator')
  await page.getByText('These calls are a simulation').waitFor()
})

test('from the first start to Claude Code connected, and undone', async () => {
  page = await open(ui, '?fake=first')
  await page.getByText('Connect my key').waitFor()
  await choose('Connect my key')
  await page.keyboard.type('sk-ant-test')
  await press('Enter')
  await page.getByText('Found here').waitFor()
  await choose('Next')
  await choose('Solo')
  await page.getByText('alerts: quiet hours 22:00-07:00').waitFor()
  await choose('Save')
  await page.getByText('3 changes are written.').waitFor()
  await tabTo(page, 'Start with the system')
  await press('Space')
  await page.getByText(/which goes when you take this back/).waitFor()
  await choose('Next')
  await choose('Connect Claude Code…')
  await choose('Connect')
  await page.getByText('Claude Code calls through this gate').waitFor()
  await choose('Undo')
  await page.getByText('its settings are as they were').waitFor()
})

test('a client is made and gets a budget', async () => {
  page = await open(ui)
  await go('clients')
  await tabTo(page, 'Name')
  await page.keyboard.type('lab')
  await press('Enter')
  await page.locator('[data-fact=token]').waitFor()
  await choose('Change lab')
  await tabTo(page, '$ a day')
  await page.keyboard.type('12')
  await press('Enter')
  await page.getByText('$12.00 a day').waitFor()
})

test('a budget is set in the settings file', async () => {
  page = await open(ui)
  await go('settings')
  await tabTo(page, '$ a week of machine')
  await page.keyboard.type('400')
  await choose('Save')
  await page.getByText('1 change is written.').waitFor()
  await choose('Remove the budget of machine')
  await choose('Discard')
  await page.getByText('not written yet').waitFor({ state: 'detached' })
})

test('a client is stopped only after a second press', async () => {
  page = await open(ui)
  await go('clients')
  await choose('Stop nightly')
  await page.getByRole('cell', { name: 'nightly', exact: true }).waitFor()
  await press('Enter')
  await page.getByRole('heading', { level: 1, name: '3 programs may call.' }).waitFor()
})

test('a call is found by / and its cost is explained by Enter', async () => {
  page = await open(ui)
  await go('overview')
  await press('/')
  await page.keyboard.type('chat failed')
  await page.getByText(/^\d+ of 240 calls$/).waitFor()
  await tabTo(page, 'Started')
  await press('ArrowDown')
  await press('Enter')
  const card = page.getByRole('dialog')
  await card.getByText('client chat').waitFor()
  await press('Escape')
  await card.waitFor({ state: 'detached' })
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('role')), 'grid', 'the focus is back where it was')
})

test('E leads to the export, and Enter writes it', async () => {
  page = await open(ui)
  await go('alerts')
  await press('e')
  await page.getByRole('region', { name: 'Export these days' }).waitFor()
  await press('ArrowDown')
  await choose('Export CSV')
  await page.getByText(/Downloads\/tidegate-daily-\d{4}-\d\d-\d\d-\d{4}-\d\d-\d\d\.csv/).waitFor()
})

test('what takes no text leaves the keys of the views as they are', async () => {
  page = await open(ui)
  await go('usage')
  await page.getByRole('radio', { name: 'Client' }).first().check()
  await press('1')
  await page.getByRole('heading', { level: 1, name: /The week/ }).waitFor()
  await go('settings')
  await page.getByRole('checkbox', { name: 'machine is hard' }).focus()
  await press('/')
  await page.waitForFunction(() => document.activeElement?.getAttribute('type') === 'search')
  await press('3')
  assert.equal(await page.getByLabel('Filter the calls').inputValue(), '3', 'where text is typed a digit is one')
  for (const field of [page.getByLabel('From').first(), page.locator('[data-reach=export]')]) {
    await field.focus()
    await press('1')
    await page.getByText('Figures of these days').waitFor()
  }
})

test('days are stacked by another name with the arrows', async () => {
  page = await open(ui)
  await go('usage')
  await page.getByRole('radio', { name: 'Model' }).focus()
  await press('ArrowRight')
  await page.getByRole('list', { name: 'Names' }).getByText('claude-code').waitFor()
})

test('a class is paused, a call dropped', async () => {
  page = await open(ui)
  await go('queue')
  const background = page.getByRole('region', { name: 'Background' })
  await background.getByRole('row').nth(6).waitFor()
  await choose('Drop the call of nightly')
  await press('Enter')
  await background.getByRole('row').nth(6).waitFor({ state: 'detached' })
  await page.getByRole('main').focus()
  await choose('Pause background')
  await background.getByText(/paused/).first().waitFor()
})

test('an alert is snoozed, a channel tested', async () => {
  page = await open(ui)
  await go('alerts')
  await choose('Snooze')
  await page.getByText(/snoozed until/).first().waitFor()
  await choose('Send a test')
  await page.getByText('It took the test alert.').waitFor()
})

test('an emergency is entered and left', async () => {
  page = await open(ui)
  await go('overview')
  await choose('Emergency')
  await page.getByRole('complementary', { name: 'Emergency' }).waitFor()
  await press('r')
  await choose('Leave')
  await page.getByRole('complementary', { name: 'Emergency' }).waitFor({ state: 'detached' })
})

test('a purchase is written down', async () => {
  page = await open(ui)
  await go('limits')
  await tabTo(page, 'Bought, $')
  await page.keyboard.type('10')
  await press('Enter')
  await page.getByText('$125.00 bought').waitFor()
})

const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim())

test('a view that is gone to has the focus on its heading, and gives the window its name', async () => {
  page = await open(ui)
  await go('limits')
  assert.equal(await focused(), await page.getByRole('heading', { level: 1 }).textContent())
  assert.equal(await page.title(), 'Limits · Tidegate')
})

test('the digits lead to views on a keyboard whose first row begins with &, while something is typed too', async () => {
  page = await open(ui)
  await go('overview')
  const press = (key, code, ctrlKey) => page.evaluate((how) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { ...how, bubbles: true, cancelable: true })), { key, code, ctrlKey })
  await press('"', 'Digit3', false)
  await page.locator('main').getByText(READY.queue).first().waitFor()
  await go('clients')
  await page.getByLabel('Name').focus()
  await press('é', 'Digit2', false)
  await press('é', 'Digit2', true)
  await page.locator('main').getByText(READY.usage).first().waitFor()
})

test('Esc closes the form of a client and the plan, and leads back to what opened them', async () => {
  page = await open(ui)
  await go('clients')
  await choose('Change ci')
  await tabTo(page, '$ a day')
  await press('Escape')
  await page.getByRole('form', { name: 'Change ci' }).waitFor({ state: 'detached' })
  assert.equal(await focused(), 'Change ci')
  await go('overview')
  await choose('Plan…')
  await tabTo(page, 'Change')
  await press('Escape')
  await page.getByRole('region', { name: 'What if' }).waitFor({ state: 'detached' })
  assert.equal(await focused(), 'Plan…')
})

test('a plan is tried and taken back', async () => {
  page = await open(ui)
  await go('overview')
  await choose('Plan…')
  await choose('Try it')
  await page.getByRole('row', { name: /^The week/ }).waitFor()
  await choose('Take back pause background')
  await page.getByRole('row', { name: /^The week/ }).waitFor({ state: 'detached' })
})

test('a rule of one’s own is added and written', async () => {
  page = await open(ui)
  await go('alerts')
  await tabTo(page, 'Passes')
  await page.keyboard.type('20')
  await press('Enter')
  await choose('Save')
  await page.getByText(/changes are written/).waitFor()
})

test('a waiting call goes to the front, a reservation is given back', async () => {
  page = await open(ui)
  await go('queue')
  await choose(/^Move to front: .*nightly/)
  await choose(/^Release/)
  await press('Enter')
  await page.getByText('Nothing is set aside').waitFor()
})

test('a reload is set', async () => {
  page = await open(ui)
  await go('limits')
  await tabTo(page, 'Reload below, $')
  await page.keyboard.type('15')
  await tabTo(page, 'Buys, $')
  await page.keyboard.type('40')
  await press('Enter')
  await page.getByText('Below $15.00 the upstream buys $40.00 by itself.').waitFor()
})

test('other days are chosen, their bill explained, amounts hidden and shown', async () => {
  page = await open(ui)
  await go('usage')
  await choose('7 days')
  await page.waitForFunction(() => document.querySelector('main svg[data-days]')?.dataset.days === '7')
  await choose('Explain')
  await page.getByText(/\(\d+ %\) for answers\./).waitFor()
  await press('h')
  await page.getByRole('heading', { level: 1, name: /^\$••• for/ }).waitFor()
  await press('h')
  await page.getByRole('heading', { level: 1, name: /^\$\d/ }).waitFor()
})

test('what is marked is named only while it is drawn', async () => {
  page = await open(ui, '?fake=many')
  await go('usage')
  const grid = page.getByRole('grid')
  await grid.focus()
  await press('ArrowDown')
  assert.equal(await grid.getAttribute('aria-activedescendant'), 'call-1')
  await page.locator('main .scroll:has([role=grid])').evaluate((place) => (place.scrollTop = 20_000))
  await page.waitForFunction(() => !document.querySelector('[role=grid]').hasAttribute('aria-activedescendant'))
  await press('ArrowDown')
  await page.waitForFunction(() => document.getElementById(document.querySelector('[role=grid]').getAttribute('aria-activedescendant')))
})
