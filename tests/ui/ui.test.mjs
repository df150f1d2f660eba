// The UI in a real browser, over an application that is not there.

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { axe, open, stage } from './support.mjs'

let ui, page
before(async () => (ui = await stage()))
after(() => ui?.strike())
afterEach(async () => {
  assert.deepEqual(page?.faults, [], 'no error, no violation of the content policy')
  await page?.close()
})

const fact = (name) => page.locator(`[data-fact="${name}"]`)
const button = (name) => page.getByRole('button', { name })

test('the first line says in words what binds', async () => {
  page = await open(ui)
  await page.getByRole('heading', { level: 1, name: /The week lasts\. About \$\d+ will be left on Mon/ }).waitFor()
  await page.getByText(/calls wait, above all for Sonnet 4 input tokens/).waitFor()
  const rows = await page.getByRole('region', { name: /Headroom/ }).getByRole('row').allInnerTexts()
  assert.match(rows.find((row) => row.includes('Sonnet')), /Sonnet 4 input/, 'the binding limit comes first')
})

test('numbers move, but no faster than a person can read', async () => {
  page = await open(ui)
  await fact('spend-today').waitFor()
  const changes = await page.evaluate(
    () =>
      new Promise((resolve) => {
        let seen = 0
        const today = document.querySelector('[data-fact="spend-today"]')
        new MutationObserver(() => seen++).observe(today, { characterData: true, childList: true, subtree: true })
        setTimeout(() => resolve(seen), 3_000)
      }),
  )
  assert.ok(changes > 0 && changes <= 13, `${changes} changes in 3 s`)
})

test('nothing jumps while numbers move', async () => {
  page = await open(ui)
  const place = () => page.getByRole('region', { name: 'Queue' }).boundingBox()
  const at = await place()
  await page.waitForTimeout(2_000)
  assert.deepEqual(await place(), at)
})

test('pausing the background is one press and shows in the queue', async () => {
  page = await open(ui)
  await button('Pause background').click()
  await page.getByRole('region', { name: 'Queue' }).getByText('paused').waitFor()
  await button('Resume background').click()
  await button('Pause background').waitFor()
})

test('everything is within reach of the keyboard', async () => {
  page = await open(ui)
  await button('Pause background').waitFor()
  await page.keyboard.press('6')
  await page.getByRole('heading', { level: 1, name: '4 programs may call.' }).waitFor()
  await page.keyboard.press('1')
  await page.getByRole('heading', { level: 1, name: /The week/ }).waitFor()
  const reached = []
  // From the heading of the view around to the beginning.
  for (let n = 0; n < 20; n++) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText.split('\n')[0]))
  }
  for (const name of ['Overview', 'Clients', 'Pause background', 'Emergency']) assert.ok(reached.includes(name), `${name} in ${reached}`)
  const outline = await page.evaluate(() => {
    document.querySelector('nav button').focus()
    return getComputedStyle(document.activeElement).outlineStyle
  })
  assert.equal(outline, 'solid', 'the focus is seen')
})

test('a number typed into a field changes no view', async () => {
  page = await open(ui)
  await button('Pause background').waitFor()
  await page.keyboard.press('6')
  await page.getByLabel('Name').pressSequentially('a1e/r')
  await page.getByRole('heading', { level: 1, name: '4 programs may call.' }).waitFor()
  await page.keyboard.press('Control+3')
  await page.getByRole('heading', { level: 1, name: /calls wait/ }).waitFor()
})

test('the first start offers the simulator, and its choice goes live', async () => {
  page = await open(ui, '?fake=first')
  await button(/Connect my key/).waitFor()
  await button(/Try it with the simulator/).click()
  await page.getByText('These calls are a simulation').waitFor()
  await page.getByRole('table').getByText('completed').first().waitFor()
})

test('connecting a key ends on the line to paste', async () => {
  page = await open(ui, '?fake=first')
  await button(/Connect my key/).click()
  await page.getByLabel('API key').fill('wrong')
  await button('Try and store it').click()
  await page.getByRole('alert').getByText('The key is not known at api.anthropic.com (401)').waitFor()
  await button('Keep anyway').waitFor()
  await page.getByLabel('API key').fill('offline')
  await button('Try and store it').click()
  await page.getByRole('alert').getByText('There is no way to api.anthropic.com from here').waitFor()
  await page.getByLabel('API key').fill('sk-ant-secret-canary')
  await button('Try and store it').click()
  await page.getByRole('heading', { name: 'Found here: 412 Claude Code sessions of 31 days.' }).waitFor()
  await button('Next').click()
  await page.getByRole('checkbox', { name: 'Start with the system' }).waitFor()
  await button('Next').click()
  await page.getByLabel('Name').fill('my-script')
  await button('Make its token').click()
  await page.getByText('Waiting for your first call…').waitFor()
  assert.match(await fact('token').innerText(), /^tg-[0-9a-f]{64}$/)
  for (const [tab, line] of [['Claude Code', 'ANTHROPIC_AUTH_TOKEN=tg-'], ['Python', 'base_url="http://127.0.0.1:8432"'], ['TypeScript', "apiKey: 'tg-"], ['LangChain', 'ChatAnthropic('], ['curl', "-H 'x-api-key: tg-"]]) {
    await page.getByRole('tab', { name: tab }).click()
    await page.getByRole('tabpanel').getByText(line).waitFor()
  }
  assert.ok(!(await page.content()).includes('canary'), 'the key is shown nowhere')
})

test('a key that nobody takes is kept only where that is wanted', async () => {
  page = await open(ui, '?fake=first')
  await button(/Connect my key/).click()
  await page.getByLabel('API key').fill('wrong')
  await button('Try and store it').click()
  await button('Keep anyway').click()
  await page.getByRole('heading', { name: /Found here/ }).waitFor()
})

test('every step of the first start can be skipped, left and gone back to', async () => {
  page = await open(ui, '?fake=first')
  await button('Decide later').click()
  const title = (name) => page.getByRole('heading', { level: 1, name }).waitFor()
  await title('Paste your Anthropic API key.')
  await button('Skip this').click()
  await title(/Found here/)
  await button('Back').click()
  await title('Paste your Anthropic API key.')
  await button('Skip this').click()
  await button('Next').click()
  await title('What may it cost?')
  await page.getByRole('heading', { name: 'Shall Tidegate start with the system?' }).waitFor()
  assert.equal(await page.getByRole('checkbox').isChecked(), false, 'it is asked, not taken')
  await button('Next').click()
  await title('Which program will call?')
  assert.equal(await page.getByRole('listitem').filter({ hasText: 'First call' }).getAttribute('aria-current'), 'step')
  await button('Back').click()
  await button('Close the setup').click()
  await page.getByRole('navigation').waitFor()
})

test('with nothing behind the gate the overview leads to a key and to the simulator', async () => {
  page = await open(ui, '?fake=first')
  await button('Close the setup').click()
  await page.getByRole('heading', { level: 1, name: /The settings name no upstream/ }).waitFor()
  await button('Connect a key…').click()
  await page.getByRole('heading', { level: 1, name: 'Paste your Anthropic API key.' }).waitFor()
  await button('Close the setup').click()
  await button('Try it with the simulator').click()
  await page.getByText('These calls are a simulation').waitFor()
  await button('Try it with the simulator').waitFor({ state: 'detached' })
})

test('logs that were found are read with progress, stopped, read on, and then watched', async () => {
  page = await open(ui, '?fake=first')
  await button('Decide later').click()
  await button('Skip this').click()
  await button('Read them').click()
  await page.getByText(/\d+ MB of 812 MB/).waitFor()
  await button('Stop').click()
  await page.getByText('Stopped. What was read stays').waitFor()
  await button('Read on').click()
  await page.getByText('10.4k calls were new, 31 counted already.').waitFor()
  await button('Stop that').click()
  await page.getByText('They are read as they grow.').waitFor({ state: 'detached' })
})

test('Claude Code is connected after its change was shown, and undone', async () => {
  page = await open(ui)
  await button('Pause background').waitFor()
  await page.keyboard.press('6')
  const part = page.getByRole('region', { name: 'Claude Code' })
  await part.getByRole('button', { name: 'Connect Claude Code…' }).click()
  const lines = part.getByRole('list', { name: 'What changes' })
  await lines.getByText('taken out: "ANTHROPIC_BASE_URL": "https://gateway.example.com"').waitFor()
  await lines.getByText('put in: "ANTHROPIC_AUTH_TOKEN": "tg-•••"').waitFor()
  await part.getByText('billed to your API key, not to a subscription').waitFor()
  await part.getByRole('button', { name: 'Connect', exact: true }).click()
  await part.getByText('Claude Code calls through this gate, as claude-code-2.').waitFor()
  await part.getByRole('button', { name: 'Undo' }).click()
  await part.getByText('its settings are as they were').waitFor()
})

test('a key is known by its last four characters and tried by a press', async () => {
  page = await open(ui)
  await button('Pause background').waitFor()
  await page.keyboard.press('6')
  const keys = page.getByRole('region', { name: 'Keys' })
  await keys.getByText('…x7Qa').waitFor()
  await keys.getByRole('button', { name: 'Test the key of anthropic' }).click()
  await keys.getByText('anthropic: The key works at api.anthropic.com.').waitFor()
})

test('a client is made, told its token once, and revoked after a second press', async () => {
  page = await open(ui, '?fake=empty')
  await button('Make a token').click()
  await page.getByRole('heading', { name: 'No program may call yet.' }).waitFor()
  await page.getByLabel('Name').fill('ci')
  await page.keyboard.press('Enter')
  await fact('token').waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('heading', { name: '1 program may call.' }).waitFor()
  await button('Stop ci').click()
  await button('Its token stops working: stop it').click()
  await page.getByRole('heading', { name: 'No program may call yet.' }).waitFor()
  assert.equal(await fact('token').count(), 0)
})

test('a taken port is named, and another is offered', async () => {
  page = await open(ui, '?fake=shut')
  await page.getByRole('heading', { name: /Port 8432 is taken by another program/ }).waitFor()
  await button('Listen on a free port').click()
  await page.getByText('127.0.0.1:43210').first().waitFor()
})

test('old news stays, dimmed, with its age', async () => {
  page = await open(ui, '?fake=lost')
  await page.getByText(/The gateway does not answer\. This is from \d+ s ago\./).waitFor()
  assert.ok(await page.locator('.stale').isVisible())
  assert.match(await fact('today').innerText(), /^\$/)
})

test('an emergency is a band over everything, with whom to call and where to look, and one press leaves it', async () => {
  page = await open(ui, '?fake=emergency')
  const band = page.getByRole('complementary', { name: 'Emergency' })
  await band.getByText(/Emergency since \d\d:\d\d/).waitFor()
  for (const words of [/95\.3 % of the window/, /6 calls held, \$3\.21 spent/, 'ops: +1 555 0100', 'https://status.claude.com']) await band.getByText(words).waitFor()
  const line = page.getByRole('banner')
  assert.ok((await band.boundingBox()).y < (await line.boundingBox()).y, 'it is over the status line')
  await button('Leave').click()
  await band.waitFor({ state: 'detached' })
  await button('Emergency').click()
  await band.waitFor()
  assert.equal(await button('Emergency').count(), 0, 'there is nothing to enter twice')
})

test('a broken upstream is shown beside what its own page says', async () => {
  page = await open(ui, '?fake=emergency')
  const upstreams = page.getByRole('region', { name: 'Upstreams' })
  await upstreams.getByText('fails: no call starts').waitFor()
  for (const words of ['anthropic · Sonnet 4', /says: All Systems Operational/, /Elevated errors\. investigating/]) await upstreams.getByText(words).waitFor()
})

test('a narrow window keeps every view within reach and scrolls in one direction only', async () => {
  page = await open(ui, '?fake=busy', { viewport: { width: 480, height: 640 } })
  await button('Clients').waitFor()
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.ok(overflow <= 0, `${overflow} px too wide`)
  assert.ok((await page.locator('nav').boundingBox()).width <= 48)
})

for (const colorScheme of ['light', 'dark']) {
  test(`axe finds nothing to object to in any step of the first start, ${colorScheme}`, async () => {
    page = await open(ui, '?fake=first', { colorScheme, reducedMotion: 'reduce', bypassCSP: true })
    for (const [press, ready] of [['Decide later', 'Paste your'], ['Skip this', 'Found here'], ['Next', 'Shall Tidegate'], ['Next', 'Which program'], ['Connect Claude Code…', 'with a backup beside it']]) {
      await button(press).click()
      await page.getByText(ready).first().waitFor()
      assert.deepEqual(await axe(page), [], ready)
    }
  })
  for (const [where, ready] of [['?fake=first', 'Connect my key'], ['?fake=shut', 'Listen on a free port'], ['?fake=lost', 'This is from']]) {
    test(`axe finds nothing to object to: ${where}, ${colorScheme}`, async () => {
      page = await open(ui, where, { colorScheme, reducedMotion: 'reduce', bypassCSP: true })
      await page.getByText(ready).first().waitFor()
      assert.deepEqual(await axe(page), [])
    })
  }
}
