// What a person sees in any window: figures that are whole, news that is new, a place that is kept.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { axe, KEYS, open, see, stage } from './support.mjs'

let ui, page
before(async () => (ui = await stage()))
after(() => ui?.strike())
afterEach(async () => {
  assert.deepEqual(page?.faults ?? [], [], 'no error, no violation of the content policy')
  await page?.close()
  page = undefined
})

const HOUR_MS = 3_600_000
const region = (name) => page.getByRole('region', { name })
const news = () => page.getByRole('complementary', { name: 'No news' })
const go = (view) => see(page, view)
/** A page whose time of day is set by `shift`, while its time goes on. */
async function openSet(where) {
  const context = await ui.browser.newContext({ viewport: { width: 1_000, height: 700 } })
  await context.addInitScript(() => {
    const now = Date.now.bind(Date)
    globalThis.shift = 0
    Date.now = () => now() + globalThis.shift
  })
  page = await open({ ...ui, browser: context }, where)
}
const shift = (ms) => page.evaluate((ms) => (globalThis.shift = ms), ms)

test('without news nothing looks live: the status line says so over old numbers, and a press asks again', async () => {
  page = await open(ui, '?fake=lost', { bypassCSP: true })
  await news().getByText('The gateway does not answer.').waitFor()
  const line = page.getByRole('banner')
  assert.match(await line.innerText(), /△ No news/)
  const colour = (name) => page.locator(`[data-fact=${name}]`).evaluate((fact) => getComputedStyle(fact).color)
  const muted = await page.locator('main').evaluate((main) => getComputedStyle(main).color)
  for (const fact of ['waiting', 'running', 'today']) assert.equal(await colour(fact), muted, fact)
  await page.getByRole('navigation').getByText('no news').waitFor()
  const [band, main] = [await news().boundingBox(), await page.locator('main').boundingBox()]
  assert.ok(band.y + band.height <= main.y + 1, 'the band covers nothing')
  assert.deepEqual(await axe(page), [])
  await news().getByRole('button', { name: 'Try again' }).click()
  await news().waitFor({ state: 'detached' })
  assert.match(await line.innerText(), /● Open/)
})

test('where nothing ever came, the cause and a way out are there', async () => {
  page = await open(ui, '?fake=mute', { bypassCSP: true })
  await page.getByRole('heading', { name: 'Starting…' }).waitFor()
  await page.getByRole('alert').getByText('It does not answer yet.').waitFor()
  assert.deepEqual(await axe(page), [])
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByRole('navigation').waitFor()
})

test('a time of day that is set back stops no chart and makes nothing look new', async () => {
  await openSet('?fake=busy')
  await go('queue')
  const rows = async () => {
    const chart = page.getByRole('figure', { name: 'Last minutes' })
    if ((await chart.getByRole('table').count()) === 0) await chart.getByText('Table').click()
    return (await chart.getByRole('row').allInnerTexts()).slice(1)
  }
  const before = await rows()
  await shift(-HOUR_MS)
  await page.waitForTimeout(2_500)
  const after = await rows()
  assert.ok(after.length > 0 && after[0] !== before[0], `${before} | ${after}`)
  await page.close()
  await openSet('?fake=lost')
  await page.getByRole('navigation').waitFor()
  await shift(-HOUR_MS)
  await news().waitFor({ timeout: 6_000 })
})

test('a time of day that is set forward makes nothing look older than it is', async () => {
  await openSet('?fake=lost')
  await page.getByRole('navigation').waitFor()
  await shift(HOUR_MS)
  await news().getByText(/This is from \d s ago\./).waitFor({ timeout: 6_000 })
})

/** What is drawn and wider than its place: a figure that can't be read, a word on a button that ends half-way, a text that nothing says in full. */
const cut = () =>
  [...document.querySelectorAll('.number, th, button, td:not([title])')]
    .filter((one) => one.checkVisibility() && !one.closest('.unseen') && one.scrollWidth > one.clientWidth)
    .map((one) => `${one.tagName} "${one.innerText}": ${one.scrollWidth} in ${one.clientWidth} px`)
/** What has hardly a word on a line. */
const thin = () => [...document.querySelectorAll('td, dd')].filter((one) => one.checkVisibility() && one.innerText.trim() && one.clientHeight > 60 && one.clientWidth < 80).map((one) => `${one.tagName} "${one.innerText}" is ${one.clientWidth} px wide and ${one.clientHeight} px high`)
/** What stands out of the panel that it is in. */
const out = () =>
  [...document.querySelectorAll('.panel')].flatMap((panel) => {
    const { right } = panel.getBoundingClientRect()
    return [...panel.querySelectorAll('td, th, button, input, p, dd')].filter((one) => one.checkVisibility() && !one.closest('details') && one.getBoundingClientRect().right > right).map((one) => `${one.tagName} "${one.innerText}" is out of its panel`)
  })

for (const width of [480, 500, 667, 800, 1_000]) {
  test(`no figure, heading or button is cut in any view ${width} px wide`, async () => {
    page = await open(ui, '?fake=busy', { viewport: { width, height: Math.round(width * 0.7) } })
    for (const view of Object.keys(KEYS)) {
      await go(view)
      for (const fault of [cut, thin, out]) assert.deepEqual(await page.evaluate(fault), [], view)
    }
    const line = await page.getByRole('banner').boundingBox()
    assert.ok(line.height <= 76, `the status line takes ${line.height} px`)
  })
}

test('a reset of the next year has its date, which is not cut either', async () => {
  for (const width of [480, 1_000]) {
    page = await open(ui, '?fake=busy', { viewport: { width, height: 700 }, now: new Date('2026-12-10T10:00:00Z') })
    await go('limits')
    await region('Windows and budgets').getByText('Fri 1 Jan 2027, 00:00').waitFor()
    for (const fault of [cut, thin, out]) assert.deepEqual(await page.evaluate(fault), [], `${width} px`)
    if (width === 480) await page.close()
  }
})

test('clocks are those of the named zone, whatever zone the machine is in, and a reset names it', async () => {
  page = await open(ui, '?fake=emergency', { timezoneId: 'Asia/Tokyo' })
  const berlin = new Date().toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin', hour: '2-digit' })
  await page.getByRole('complementary', { name: 'Emergency' }).getByText(new RegExp(`Emergency since ${berlin}:`)).waitFor()
  await region('Upstreams').getByText(new RegExp(`read ${berlin}:`)).waitFor()
  await region('week used').getByText(/reset Mon( \d+ \w+,)? \d\d:00 \(Europe\/Berlin\)/).waitFor()
  await go('limits')
  await region('Windows and budgets').getByText('Times of Europe/Berlin.').waitFor()
  await go('alerts')
  await region('Inbox').getByText('Times of Europe/Berlin.').waitFor()
})

test('the window opens on the view that was seen last, and on the first where that is none', async () => {
  page = await open(ui)
  await go('limits')
  await page.reload()
  await page.locator('nav [aria-current]', { hasText: 'Limits' }).waitFor()
  await page.evaluate(() => localStorage.setItem('tidegate.view', 'constructor'))
  await page.reload()
  await page.getByRole('heading', { level: 1, name: /The week/ }).waitFor()
})

test('spending without a limit to stand beside has the width of a narrow window', async () => {
  page = await open(ui, '?fake=young', { viewport: { width: 500, height: 700 } })
  const [spend, queue] = [await region('Spend').boundingBox(), await region('Queue').boundingBox()]
  assert.deepEqual([spend.x, spend.width], [queue.x, queue.width])
})

test('what a chart shows is a table too, and its calls go into a file', async () => {
  page = await open(ui)
  const exported = async (part) => {
    await part.getByRole('button', { name: 'Export these calls' }).click()
    await part.getByText(/Downloads\/tidegate-calls-2/).waitFor()
  }
  const course = page.getByRole('figure', { name: /The week, cumulative/ })
  await exported(course)
  await course.getByText(/reset Mon( \d+ \w+,)? \d\d:00 \(Europe\/Berlin\)/).waitFor()
  await go('usage')
  const hours = region(/Hours of the week/)
  await hours.getByText('Table').click()
  const rows = await hours.getByRole('table', { name: 'Mean cost of each hour', exact: true }).getByRole('row').allInnerTexts()
  assert.deepEqual([rows.length, rows[0]], [25, 'Hour\tMon\tTue\tWed\tThu\tFri\tSat\tSun'])
  assert.match(rows[10], /^09:00(\t\$\d+\.\d+){7}$/)
  await exported(hours)
  await go('queue')
  await exported(page.getByRole('figure', { name: 'Last minutes' }))
})

test('today, this week and this month say what they come to', async () => {
  page = await open(ui)
  for (const [name, end] of [['Today', 'by midnight'], ['This week', 'by Sunday night'], ['', 'at its end']]) {
    await region('Spend').getByRole('row', { name }).getByText(new RegExp(`\\$[\\d.]+–\\$[\\d.]+ ${end}`)).waitFor()
  }
})

test('an emergency is as red as it is: status line, badge, bar and headline', async () => {
  page = await open(ui, '?fake=emergency')
  await page.getByRole('banner').getByText('◆').waitFor()
  assert.match(await page.getByRole('banner').innerText(), /Emergency/)
  await page.getByRole('img', { name: /^\d+ open, urgent$/ }).waitFor()
  await region('week used').locator('rect.critical').waitFor()
  await region('week used').getByText('month of client nightly 84 %').waitFor()
  await page.locator('h1 .critical').waitFor()
  await page.getByRole('heading', { level: 1, name: /Emergency: only critical calls/ }).waitFor()
})

test('names of the machine’s own are said in words', async () => {
  page = await open(ui)
  await go('limits')
  await region('Windows and budgets').getByRole('cell', { name: 'month of client nightly' }).waitFor()
  await region('Tier of anthropic').getByText(/Sonnet 4 input tokens: .*half of it on \d+ [A-Z]/).waitFor()
  await go('alerts')
  for (const part of ['Inbox', 'Rules']) await region(part).getByText('cost per call').first().waitFor()
})

test('the parts of a bill have names that can be read', async () => {
  page = await open(ui, '?fake=busy', { viewport: { width: 1_000, height: 700 } })
  await go('usage')
  const bill = region('Explain this bill')
  await bill.getByRole('button', { name: 'Explain', exact: true }).click()
  const names = bill.locator('tbody td:first-child')
  await names.first().waitFor()
  for (const { text, width } of await names.evaluateAll((all) => all.map((one) => ({ text: one.innerText, width: one.clientWidth })))) {
    assert.ok(width >= 160, `"${text}" has ${width} px`)
  }
})

test('no mark of an axis is cut, be it of cents or of the last day', async () => {
  page = await open(ui, '?fake=young', { viewport: { width: 1_000, height: 700 }, now: new Date('2026-11-27T10:24:00Z') })
  await page.getByRole('figure', { name: /This month, cumulative/ }).locator('canvas').waitFor()
  await page.waitForTimeout(500)
  const inked = await page.locator('figure canvas').first().evaluate((canvas) => {
    const ink = (x) => canvas.getContext('2d').getImageData(x, 0, 1, canvas.height).data.some((part) => part > 0)
    return { first: ink(0), last: ink(canvas.width - 1) }
  })
  assert.deepEqual(inked, { first: false, last: false })
  await go('usage')
  await page.locator('svg[data-days] text', { hasText: '$0.0' }).first().waitFor()
  const starts = await page.locator('svg[data-days] text').evaluateAll((all) => all.map((one) => one.getBBox().x))
  assert.ok(starts.every((x) => x >= 0), `${starts}`)
})
