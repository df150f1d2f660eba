// Each view over an application that is not there: it shows what it is asked for, in words, to everyone.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { axe, gzipped, KEYS, open, READY, see, source, stage } from './support.mjs'

const BUNDLE_MAX = 150 * 1_024
const VIEWS = Object.keys(KEYS)

let ui, page
before(async () => (ui = await stage()))
after(() => ui?.strike())
afterEach(async () => {
  assert.deepEqual(page?.faults ?? [], [], 'no error, no violation of the content policy')
  await page?.close()
  page = undefined
})

const region = (name) => page.getByRole('region', { name })
const go = (view) => see(page, view)
const title = () => page.getByRole('heading', { level: 1 }).innerText()

test('the overview shows the week that fills, its limit and its forecast, and their figures as a table', async () => {
  page = await open(ui)
  await region(/Headroom/).waitFor()
  const chart = page.getByRole('figure', { name: /The week, cumulative/ })
  await chart.locator('canvas').waitFor()
  await chart.getByText('Europe/Berlin').waitFor()
  await chart.getByText('Table').click()
  assert.match(await chart.getByRole('row').last().innerText(), /Mon( \d+ \w+,)? \d\d:\d\d \(reset\)\s+\$/)
  await region('week used').getByText(/of \$110\.00/).waitFor()
  await region('The last 30 days').getByText('rate limit errors seen').waitFor()
  await region('Spend').getByText(/\$\d+–\$\d+ at its end/).waitFor()
})

test('a window of which nothing can be forecast yet has its gauge, and its limit, reset and now in the chart', async () => {
  page = await open(ui, '?fake=quiet')
  await page.getByRole('heading', { level: 1, name: /^The week is \d+ % used\.$/ }).waitFor()
  await page.getByText(/Too early to tell whether it lasts/).waitFor()
  await region('week used').getByText(/of \$110\.00/).waitFor()
  const chart = page.getByRole('figure', { name: /The week, cumulative/ })
  await chart.locator('canvas').waitFor()
  await chart.getByText(/reset Mon/).waitFor()
  assert.equal(await chart.getByText('middle forecast').count(), 0)
})

test('without any limit in money the overview shows the month', async () => {
  page = await open(ui, '?fake=empty')
  await go('overview')
  assert.equal(await title(), 'The gate is open.')
})

test('usage is stacked by one switch, and its sums agree with the table beside it', async () => {
  page = await open(ui)
  await go('usage')
  assert.match(await title(), /^\$\d+\.\d\d for [\d,]+ calls: \d+ % of it (Sonnet|Opus|Haiku)/)
  const days = region('Cost of each day')
  for (const [by, name] of [['Client', 'claude-code'], ['Project', 'web'], ['Tenant', 'no tenant'], ['Person', 'mira'], ['Model', 'Sonnet 4.5']]) {
    await days.getByRole('radio', { name: by }).check()
    await days.getByRole('list', { name: 'Names' }).getByText(name).waitFor()
  }
  await days.getByText('Table').click()
  const rows = await days.getByRole('row').allInnerTexts()
  const sum = rows.slice(1).reduce((all, row) => all + Number(row.split('\t')[1].replace(/[$,]/g, '')), 0)
  const total = Number((await title()).match(/^\$([\d.,]+)/)[1].replace(',', ''))
  assert.ok(Math.abs(sum - total) < 0.005 * rows.length, `${sum} in the table, ${total} in the title`)
})

test('a range of days is chosen by a press or written, and one that ends before it begins is said', async () => {
  page = await open(ui)
  await go('usage')
  const picker = page.getByRole('group', { name: 'Days', exact: true })
  await picker.getByRole('button', { name: '7 days' }).click()
  await page.waitForFunction(() => document.querySelector('main svg[data-days]')?.dataset.days === '7')
  await picker.getByLabel('From').fill(await picker.getByLabel('to', { exact: true }).inputValue())
  await page.waitForFunction(() => document.querySelector('main svg[data-days]')?.dataset.days === '1')
  await picker.getByLabel('to', { exact: true }).fill('2020-01-01')
  await picker.getByText('Choose a first day that is not after the last.').waitFor()
})

test('minutes above a limit are bursts, in the chart and in its table', async () => {
  page = await open(ui)
  await go('usage')
  const part = region('Each minute')
  await part.locator('canvas').waitFor()
  await part.getByText(/limit 30\.0k/).waitFor()
  await part.getByText(/minutes? above the limit: a burst/).waitFor()
  await part.getByText('Times are of Europe/Berlin.').waitFor()
  await part.getByText('Table').click()
  const rows = (await part.getByRole('row').allInnerTexts()).slice(1).map((row) => row.split('\t'))
  const number = (text) => Number(text.replace('k', '')) * (text.endsWith('k') ? 1_000 : 1)
  for (const [minute, used, limit, burst] of rows) assert.equal(burst === '△ burst', number(used) > number(limit), minute)
  assert.ok(rows.some(([, , , burst]) => burst === '△ burst'))
  await part.getByRole('radio', { name: 'Output' }).check()
  await part.getByText('No minute was above the limit.').waitFor()
  await part.getByLabel('Models').selectOption({ label: 'Opus 4' })
  await part.getByText('No limit is known for these models.').waitFor()
  await part.getByRole('button', { name: 'Export these calls' }).click()
  await part.getByText(/Downloads\/tidegate-calls-/).waitFor()
})

test('amounts are hidden everywhere by one key, for eyes and screen readers, and stay so after a reload', async () => {
  page = await open(ui)
  await go('overview')
  await page.keyboard.press('h')
  await page.getByRole('button', { name: 'Show amounts' }).waitFor()
  for (const view of VIEWS) {
    await page.keyboard.press(KEYS[view])
    await page.locator('main').getByText(READY[view]).first().waitFor()
    const seen = await page.evaluate(() => [document.body.innerText, ...[...document.querySelectorAll('[title], [aria-label], title')].map((one) => one.getAttribute('title') ?? one.getAttribute('aria-label') ?? one.textContent)].join('\n'))
    assert.deepEqual(seen.match(/[$€] ?\d[\d.,]*/g) ?? [], [], view)
  }
  await page.keyboard.press('2')
  assert.match(await title(), /^\$••• for [\d,]+ calls/)
  await page.getByRole('button', { name: 'Explain', exact: true }).click()
  await page.getByRole('button', { name: 'Explain again' }).waitFor()
  assert.doesNotMatch(await region('Explain this bill').innerText(), /\$\d/)
  await page.getByRole('button', { name: 'Why did this call cost that?' }).click()
  const card = page.getByRole('dialog', { name: /Why this call/ })
  await card.getByRole('row').first().waitFor()
  assert.doesNotMatch(await card.innerText(), /\$\d/)
  await page.keyboard.press('Escape')
  await page.reload()
  await page.getByRole('button', { name: 'Show amounts' }).click()
  await page.getByRole('button', { name: 'Hide amounts' }).waitFor()
  assert.match(await page.locator('[data-fact=today]').innerText(), /^\$\d/)
})

test('amounts are shown in the user’s own currency too, with the day of the rate', async () => {
  page = await open(ui, '?fake=demo')
  const today = region('Spend').getByRole('row', { name: /Today/ })
  await today.getByText(/^≈ €[\d.,]+$/).waitFor()
  await region('Spend').getByText('at the rate of 2026-11-01').waitFor()
  const [usd, eur] = (await today.innerText()).match(/[$€][\d.,]+/g).map((text) => Number(text.slice(1).replace(',', '')))
  assert.ok(Math.abs(usd * 0.86 - eur) < 0.01, `${usd} ${eur}`)
  await go('usage')
  await page.locator('main').getByText(/^≈ €[\d.,]+ \(rate of 2026-11-01\)$/).waitFor()
  await page.keyboard.press('h')
  await page.getByText('≈').first().waitFor({ state: 'detached' })
})

test('a call that failed names the page where the upstream says more', async () => {
  page = await open(ui)
  await go('usage')
  await page.keyboard.press('/')
  await page.keyboard.type('failed')
  await page.getByRole('button', { name: 'Why did this call cost that?' }).click()
  await page.getByRole('dialog', { name: /Why this call/ }).getByText('https://status.claude.com').waitFor()
})

test('a call that was refused or ended at its max_tokens says so in words, and only an error is red', async () => {
  page = await open(ui)
  await go('usage')
  const card = page.getByRole('dialog', { name: /Why this call/ })
  const why = page.getByRole('button', { name: 'Why did this call cost that?' })
  await page.keyboard.press('/')
  await page.keyboard.type('refused')
  await why.click()
  await card.getByText('Its turn would have come later than it could wait for it (tidegate_deadline).').waitFor()
  assert.equal(await card.locator('dd.critical').count(), 0)
  await page.keyboard.press('Escape')
  await page.getByLabel('Filter the calls').fill('0009999996')
  await why.click()
  await card.getByText('Ended at max_tokens: it is as long as its request allowed.').waitFor()
  assert.equal(await card.locator('dd.critical').count(), 0)
})

test('hours before the first call are unknown, later ones without calls are nothing', async () => {
  page = await open(ui)
  await go('usage')
  const map = region(/Hours of the week/)
  await map.getByRole('cell', { name: '$0.00' }).first().waitFor()
  await page.close()
  page = await open(ui, '?fake=empty')
  await go('usage')
  await region(/Hours of the week/).getByText('No hour is known yet').waitFor()
})

/** Milliseconds of each of many steps through the calls, the quickest first. */
async function steps(calls) {
  return calls.locator('.scroll').evaluate(async (place) => {
    const steps = []
    for (let n = 1; n <= 40; n++) {
      const begin = performance.now()
      place.scrollTop = (place.scrollHeight * n) / 41
      place.dispatchEvent(new Event('scroll'))
      await new Promise((done) => setTimeout(done))
      void place.offsetHeight
      steps.push(performance.now() - begin)
    }
    return steps.sort((a, b) => a - b)
  })
}

test('a hundred thousand calls scroll as few do: only those in sight are drawn', async () => {
  page = await open(ui, '?fake=many')
  await go('usage')
  const calls = region(/Calls that ended/)
  await calls.getByText('2,000 calls').waitFor()
  const few = await steps(calls)
  await calls.getByRole('button', { name: 'Read older ones' }).click()
  await calls.getByText('100,000 calls').waitFor()
  const many = await steps(calls)
  assert.ok((await calls.getByRole('row').count()) < 60)
  // Against each other, since a busy machine is slow at both.
  console.log(`# a step through 2,000 calls: ${few[20].toFixed(1)} ms, through 100,000: ${many[20].toFixed(1)} ms`)
  assert.ok(many[20] < 4 * few[20] + 5, `${many[20]} ms against ${few[20]} ms`)
})

test('a call tells every term of its cost, and the terms add up', async () => {
  page = await open(ui)
  await go('usage')
  await page.getByRole('button', { name: 'Why did this call cost that?' }).click()
  const card = page.getByRole('dialog', { name: /Why this call/ })
  const rows = await card.getByRole('row').allInnerTexts()
  const costs = rows.slice(1).map((row) => Number(row.split('\t').at(-1).replace('$', '')))
  const sum = costs.slice(0, -1).reduce((all, cost) => all + cost, 0)
  assert.ok(Math.abs(sum - costs.at(-1)) < 1e-9, `${costs}`)
  await card.getByText(/Price .* since 2025-09-29, read at https/).waitFor()
  await page.keyboard.press('Escape')
  await card.waitFor({ state: 'detached' })
})

test('the bill is taken apart on request', async () => {
  page = await open(ui)
  await go('usage')
  await page.getByRole('button', { name: 'Explain', exact: true }).click()
  await region('Explain this bill').getByText(/\(\d+ %\) for answers\./).waitFor()
})

test('the queue is grouped by class; a call can be dropped, raised, a class paused, a reservation given back', async () => {
  page = await open(ui)
  await go('queue')
  const background = region('Background')
  await background.getByRole('row').nth(6).waitFor()
  await background.getByRole('button', { name: /^Drop/ }).first().click()
  await background.getByRole('button', { name: /It gets a refusal/ }).click()
  await background.getByRole('row').nth(6).waitFor({ state: 'detached' })
  await background.getByRole('button', { name: 'Pause' }).click()
  await background.getByText(/paused/).first().waitFor()
  await region('Reservations').getByText('13 / 40').waitFor()
  await region('Reservations').getByRole('button', { name: /Release/ }).click()
  await region('Reservations').getByRole('button', { name: /Give it back/ }).click()
  await region('Reservations').getByText('Nothing is set aside').waitFor()
})

test('what is paused is let go on by a press', async () => {
  page = await open(ui)
  await go('queue')
  await region('Paused').getByText('session 0a1b2c3d: 1 call waits').waitFor()
  await region('Paused').getByRole('button', { name: 'Let it go on: session 0a1b2c3d' }).click()
  await region('Paused').waitFor({ state: 'detached' })
})

test('a plan shows each forecast as it is and as it would be, and what cannot be tried is said', async () => {
  page = await open(ui, '?fake=busy', { bypassCSP: true })
  await page.getByRole('button', { name: 'Plan…' }).click()
  const plan = region('What if')
  await plan.getByRole('button', { name: 'Try it' }).click()
  await plan.getByRole('button', { name: 'Take back pause background' }).waitFor()
  const [before, after] = await plan.getByRole('row', { name: /^The week/ }).getByRole('cell').allInnerTexts()
  const sum = (text) => Number(text.match(/\$([\d,.]+)/)[1].replaceAll(',', ''))
  assert.ok(sum(after) < sum(before), `${before} → ${after}`)
  await plan.getByLabel('Change').selectOption('move')
  await plan.getByLabel('To', { exact: true }).fill('gpt-9')
  await plan.getByRole('button', { name: 'Try it' }).click()
  await plan.getByRole('alert').getByText('That model has no price').waitFor()
  await plan.getByRole('button', { name: 'Take back move 30% to gpt-9' }).click()
  await plan.getByRole('alert').waitFor({ state: 'detached' })
  assert.deepEqual(await axe(page), [])
})

test('limits say what they are, what others take and where they are known from; tiers stand side by side', async () => {
  page = await open(ui)
  await go('limits')
  assert.match(await region(/Limits a minute/).getByRole('row', { name: /input tokens/ }).innerText(), /30\.0k\s+28\.0k.*22 %\s+headers\s+4 s ago/s)
  await region('Windows and budgets').getByText('probably lasts (93 %)').waitFor()
  await region('Tier of anthropic').getByText(/Tier 3 at \$85\.00 more credit/).waitFor()
  const published = region(/Published tiers/)
  await published.getByText('● yours').waitFor()
  assert.equal(await published.getByText(/Source: https/).count(), 2)
})

test('the limits begin with the week where that is fuller than any minute', async () => {
  page = await open(ui, '?fake=quiet', { now: new Date('2026-11-27T10:24:00Z') })
  await go('limits')
  assert.match(await title(), /^The week is \d+ % used\.$/)
})

test('a wrong purchase is refused in a sentence, a right one is written down', async () => {
  page = await open(ui)
  await go('limits')
  const tier = region('Tier of anthropic')
  await tier.getByLabel('Bought, $').fill('none')
  await tier.getByRole('button', { name: 'Add purchase' }).click()
  await tier.getByRole('alert').getByText('A purchase is more than $0').waitFor()
  await tier.getByLabel('Bought, $').fill('25')
  await tier.getByRole('button', { name: 'Add purchase' }).click()
  await tier.getByText('$140.00 bought').waitFor()
})

test('a purchase is taken back, and what was taken back comes again', async () => {
  page = await open(ui, '?fake=busy', { bypassCSP: true })
  await go('limits')
  const tier = region('Tier of anthropic')
  await tier.getByLabel('Bought, $').fill('2000000')
  await tier.getByRole('button', { name: 'Add purchase' }).click()
  await tier.getByRole('alert').getByText('A purchase is $1,000,000 at most').waitFor()
  await tier.getByLabel('Bought, $').fill('25')
  await tier.getByRole('button', { name: 'Add purchase' }).click()
  await tier.getByRole('status').getByText(/\$25\.00 of .* added\./).waitFor()
  await tier.getByRole('button', { name: 'Undo' }).click()
  await tier.getByText('$115.00 bought').waitFor()
  await tier.getByRole('button', { name: /^Remove \$40\.00 of/ }).click()
  await tier.getByText('$75.00 bought').waitFor()
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Undo')
  await page.keyboard.press('Enter')
  await tier.getByText('$115.00 bought').waitFor()
  assert.equal(await tier.getByRole('list', { name: 'Purchases' }).getByRole('listitem').count(), 2)
  await tier.getByRole('button', { name: /^Remove \$75\.00 of/ }).click()
  await tier.getByText('$40.00 bought').waitFor()
  assert.deepEqual(await axe(page), [])
})

test('alerts tell what, when and what to do; rules are sentences; channels can be tested; forecasts are scored', async () => {
  page = await open(ui)
  await go('alerts')
  await region('Inbox').getByText('https://platform.claude.com/settings/limits').first().waitFor()
  await region('Inbox').getByRole('button', { name: /Snooze cost_per_call/ }).click()
  await region('Inbox').getByText(/snoozed until/).waitFor()
  await region('Rules').getByText('Warn when 80 % or 90 % of any window is used, by ops, once per window.').waitFor()
  await region('Channels').getByRole('button', { name: 'Send a test by desktop' }).click()
  await region('Channels').getByText('It took the test alert.').waitFor()
  await region('Channels').getByRole('button', { name: 'Send a test by ops' }).click()
  await region('Channels').getByText('Channel ops did not take the test alert: it answered 404.').waitFor()
  await region('Forecasts, scored').getByText('hit 7 of 8').waitFor()
})

test('a budget is set, changed and taken away; a wrong one is refused in a sentence', async () => {
  page = await open(ui)
  await go('clients')
  const clients = region('Clients')
  const change = clients.getByRole('button', { name: 'Change claude-code' })
  await change.click()
  await clients.getByLabel('$ a day').fill('many')
  await clients.getByRole('button', { name: 'Save' }).click()
  await page.getByRole('alert').getByText('The amount is wrong: dollars such as 12.50, or none.').waitFor()
  await clients.getByLabel('$ a day').fill('7.5')
  await clients.getByRole('button', { name: 'Save' }).click()
  await clients.getByText('$7.50 a day').waitFor()
  await change.click()
  await clients.getByLabel('$ a day').fill('')
  await clients.getByRole('button', { name: 'Save' }).click()
  await clients.getByText('$7.50 a day').waitFor({ state: 'detached' })
})

test('settings list what leaves this machine, and where the data is', async () => {
  page = await open(ui)
  await go('settings')
  await region('Leaves this machine').getByText('https://api.anthropic.com').waitFor()
  await page.getByText('/home/mira/.local/share/tidegate').waitFor()
})

test('protections say what is off, what that meant and what turns it on', async () => {
  page = await open(ui)
  await go('settings')
  const all = region('Protections')
  await all.getByText('off, and missed').waitFor()
  await all.getByText(/your dearest of the last 30 days was/).waitFor()
  await all.getByText("tidegate settings set 'budget[scope=machine].daily_usd' 50").waitFor()
})

test('a way of working is put into the forms, and is written or given up', async () => {
  page = await open(ui)
  await go('settings')
  const [begin, changes] = [region('Where to begin'), page.getByRole('form', { name: 'Changes' })]
  await begin.getByRole('button', { name: 'Batch' }).click()
  await begin.getByRole('list', { name: 'What Batch sets' }).getByText('gateway: max wait 3600s').waitFor()
  assert.equal(await region('Budgets').getByLabel('$ a week of machine').inputValue(), '250', 'in the form of what is there already')
  await changes.getByText('3 changes are not written yet.').waitFor()
  await changes.getByRole('button', { name: 'Discard' }).click()
  assert.equal(await region('Budgets').getByLabel('$ a week of machine').inputValue(), '')
  await begin.getByRole('button', { name: 'SaaS backend' }).click()
  await changes.getByRole('button', { name: 'Save' }).click()
  await page.getByText('2 changes are written.').waitFor()
  await page.getByRole('complementary', { name: 'Settings file' }).getByText(/wait for a restart/).waitFor()
})

test('a budget is changed, added and removed in the settings file; a wrong one is refused at its field', async () => {
  page = await open(ui)
  await go('settings')
  const [budgets, changes] = [region('Budgets'), page.getByRole('form', { name: 'Changes' })]
  const amount = budgets.getByLabel('$ a day of machine')
  await amount.fill('lots')
  await changes.getByText('1 change is not written yet.').waitFor()
  await changes.getByRole('button', { name: 'Save' }).click()
  await budgets.getByRole('alert').getByText('daily_usd must be an amount in dollars').waitFor()
  await changes.getByText('Nothing was written').waitFor()
  await amount.fill('80')
  await budgets.getByLabel('Name').fill('shop ]"')
  await budgets.getByLabel('Of a').selectOption('project')
  await budgets.getByLabel('$', { exact: true }).fill('15')
  await budgets.getByRole('button', { name: 'Add budget' }).click()
  await budgets.getByText('project:shop ]", daily: $15').waitFor()
  await budgets.getByRole('button', { name: 'Remove the budget of client:nightly' }).click()
  await changes.getByRole('button', { name: 'Save' }).click()
  await page.getByText('3 changes are written.').waitFor()
  assert.equal(await budgets.getByLabel('$ a day of machine').inputValue(), '80')
  assert.equal(await budgets.getByLabel('$ a day of project:shop ]"').inputValue(), '15')
  assert.equal(await budgets.getByText('client:nightly').count(), 0)
})

test('a setting that waits says so in a band, and a restart takes it; what is given up is not written', async () => {
  page = await open(ui, '?fake=busy', { bypassCSP: true })
  await go('settings')
  const file = region('Settings file')
  await file.getByText('Where calls come in').click()
  await file.getByLabel('Max wait').fill('9m')
  await page.getByRole('button', { name: 'Discard' }).click()
  assert.equal(await file.getByLabel('Max wait').inputValue(), '5m')
  await file.getByLabel('Max wait').fill('9m')
  await page.getByRole('button', { name: 'Save' }).click()
  const band = page.getByRole('complementary', { name: 'Settings file' })
  await band.getByText('gateway. Running calls may finish first.').waitFor()
  assert.deepEqual(await axe(page), [])
  await band.getByRole('button', { name: 'Restart the gateway' }).click()
  await band.waitFor({ state: 'detached' })
})

test('figures of rules are changed in their sentences, a rule of one’s own is added and removed', async () => {
  page = await open(ui)
  await go('alerts')
  const rules = region('Rules')
  await rules.getByLabel('Token warning').fill('70')
  await rules.getByLabel('Daily spend').fill('often')
  await rules.getByRole('button', { name: 'Save' }).click()
  await rules.getByRole('alert').getByText('daily_spend_usd must be an amount in dollars').waitFor()
  await rules.getByLabel('Daily spend').fill('30')
  await rules.getByLabel('Of', { exact: true }).fill('client:ci')
  await rules.getByLabel('Passes').fill('5, 10')
  await rules.getByRole('button', { name: 'Add rule' }).click()
  await rules.getByRole('button', { name: 'Remove the rule on spend.day.project:shop' }).click()
  await rules.getByRole('button', { name: 'Save' }).click()
  await rules.getByText(/changes are written/).waitFor()
  assert.equal(await rules.getByLabel('Token warning').inputValue(), '70')
  assert.equal(await rules.getByLabel('Thresholds of spend.day.client:ci').inputValue(), '5, 10')
  assert.equal(await rules.getByLabel('Thresholds of spend.day.project:shop').count(), 0)
})

test('an answer that fails is one sentence and one thing to do', async () => {
  page = await open(ui, '?fake=broken')
  for (const view of ['usage', 'limits', 'alerts', 'clients', 'settings']) {
    await page.getByRole('navigation').waitFor()
    await page.keyboard.press(KEYS[view])
    const problem = page.getByRole('alert').getByText('The ledger can’t be read: the disk is full; make room on it.').first()
    await problem.waitFor()
    await page.getByRole('button', { name: 'Try again' }).first().click()
    await problem.waitFor()
  }
})

test('markup, long names and names from right to left stay text and stay inside in every view', async () => {
  page = await open(ui, '?fake=hostile')
  await page.getByRole('navigation').waitFor()
  for (const view of VIEWS) {
    await page.keyboard.press(KEYS[view])
    if (view === 'queue') for (const part of ['normal', 'Running']) await region(new RegExp(part, 'i')).locator('tbody tr').first().waitFor()
    if (view !== 'help') await page.locator('main').getByText('<img src=x').locator('visible=true').first().waitFor()
    await page.waitForTimeout(500)
    assert.equal(await page.title(), `${view[0].toUpperCase()}${view.slice(1)} · Tidegate`)
    assert.equal(await page.locator('#app img, #app script').count(), 0, view)
    const wide = await page.evaluate(() => [document.documentElement, document.querySelector('main')].map((one) => one.scrollWidth - one.clientWidth))
    assert.deepEqual(wide.map((px) => px > 1), [false, false], `${view} is ${wide} px too wide`)
  }
})

/** Each field that takes any text, with what it is once it is typed. */
const type = (texts) => {
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set
  const fields = [...document.querySelectorAll('main input')].filter((one) => ['text', 'search', 'password'].includes(one.type) && !one.disabled && one.checkVisibility())
  return fields.map((field, at) => {
    for (const text of texts.map((_, n) => texts[(n + at) % texts.length])) {
      set.call(field, text)
      const typed = field.value
      field.dispatchEvent(new InputEvent('input', { bubbles: true }))
      if (field.value !== typed) return `${field.getAttribute('aria-label') ?? field.labels[0]?.innerText}: ${field.value} instead of ${typed}`
    }
    return null
  }).filter(Boolean)
}

test('200 hostile texts in every text field stay text: nothing runs, opens, widens the page or changes', async () => {
  const ui_source = await source()
  const { texts } = await ui_source.load('/src/host/fake/hostile.ts')
  await ui_source.close()
  assert.equal(new Set(texts).size, 200)
  page = await open(ui)
  page.on('dialog', (dialog) => (page.faults.push(`dialog: ${dialog.message()}`), dialog.dismiss()))
  for (const view of VIEWS) {
    await go(view)
    if (view === 'overview') await page.getByRole('button', { name: 'Plan…' }).click()
    if (view === 'clients') await page.getByRole('button', { name: 'Change ci' }).click()
    const fields = await page.evaluate(type, texts)
    assert.deepEqual(fields, [], view)
    assert.equal(await page.locator('#app img, #app script, #app svg[onload], #app textarea').count(), 0, view)
    const wide = await page.evaluate(() => [document.documentElement, document.querySelector('main')].map((one) => one.scrollWidth - one.clientWidth))
    assert.deepEqual(wide.map((px) => px > 1), [false, false], `${view} is ${wide} px too wide`)
    assert.match(await page.title(), / · Tidegate$/)
    await page.locator('h1').first().click()
  }
})

for (const [name, viewport] of [['the smallest window', { width: 480, height: 420 }], ['twice the size at 1000 × 700', { width: 500, height: 350 }], ['1000 × 700', { width: 1_000, height: 700 }]]) {
  test(`every view scrolls in one direction only: ${name}`, async () => {
    page = await open(ui, '?fake=busy', { viewport })
    for (const view of VIEWS) {
      await go(view)
      const wide = await page.evaluate(() => [document.documentElement, document.querySelector('main')].map((one) => one.scrollWidth - one.clientWidth))
      assert.deepEqual(wide.map((px) => px > 1), [false, false], `${view} is ${wide} px too wide`)
    }
  })
}

for (const colorScheme of ['light', 'dark']) {
  for (const state of ['busy', 'empty', 'emergency', 'demo']) {
    test(`axe finds nothing to object to in any view: ${state}, ${colorScheme}`, async () => {
      page = await open(ui, `?fake=${state}`, { colorScheme, reducedMotion: 'reduce', bypassCSP: true })
      const found = []
      for (const view of VIEWS) {
        await go(view)
        await page.waitForTimeout(300)
        found.push(...(await axe(page)).map((one) => `${view}: ${one}`))
      }
      if (state === 'busy') {
        await go('usage')
        await page.getByRole('button', { name: 'Why did this call cost that?' }).click()
        await page.getByRole('dialog').getByText('read at').waitFor()
        found.push(...(await axe(page)).map((one) => `why: ${one}`))
      }
      assert.deepEqual(found, [])
    })
  }
}

test('the window is small enough to open at once', async () => {
  const sizes = await gzipped()
  const sum = Object.values(sizes).reduce((all, size) => all + size, 0)
  console.log(`# ${sum} bytes packed: ${JSON.stringify(sizes)}`)
  assert.ok(sum <= BUNDLE_MAX, `${sum} bytes`)
})
