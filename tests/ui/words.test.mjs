// Numbers and sentences as a person reads them.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { source } from './support.mjs'

let modules, format, headline
before(async () => {
  modules = await source()
  format = await modules.load('/src/format.ts')
  headline = await modules.load('/src/headline.ts')
})
after(() => modules?.close())

const limit = (group, resource, guard, level) => ({ upstream: 'a', group, resource, limit: guard, guard, level, source: 'headers', observed_at: null })
const queue = (waiting, paused = false) => ({ waiting, running: 0, oldest_ms: 0, eta_ms: waiting * 1_000, paused })
const status = (changes) => ({
  gateway: { address: 'http://127.0.0.1:8432', trouble: null },
  limits: [],
  queue: { critical: queue(0), normal: queue(0), background: queue(0) },
  live: [],
  ...changes,
})

test('money has cents, small money the digits that matter, unknown money none', () => {
  const seen = ['1234.56', '18.420000000', '0.0021', '0.000000000', '0.099950000', null].map(format.usd)
  assert.deepEqual(seen, ['$1,234.56', '$18.42', '$0.0021', '$0.00', '$0.1000', '–'])
})

test('tokens and durations are short and have units', () => {
  assert.deepEqual([0, 980, 1_200, 28_000, 999_949, 999_950, 1_300_000].map(format.count), ['0', '980', '1.2k', '28.0k', '999.9k', '1.0M', '1.3M'])
  const durations = [400, 9_949, 9_950, 59_000, 240_000, 10_800_000, 172_800_000].map(format.duration)
  assert.deepEqual(durations, ['0.4 s', '9.9 s', '10 s', '59 s', '4 min', '3 h', '2 d'])
})

test('models and groups read as people say them', () => {
  assert.deepEqual(['claude-sonnet-4-5-20250929', 'claude-opus-4-1', 'claude-sonnet-4-20250514', 'gpt-x'].map(format.model), ['Sonnet 4.5', 'Opus 4.1', 'Sonnet 4', 'gpt-x'])
  assert.deepEqual(['sonnet-4', 'haiku-4.5', 'claude-*'].map(format.group), ['Sonnet 4', 'Haiku 4.5', 'claude-*'])
})

test('the headline tells trouble first, then who waits for what, then what is closest', () => {
  const limits = [limit('sonnet-4', 'input_tokens', 28_000, 1_000), limit('haiku-4.5', 'requests', 48, 10)]
  const live = [{ state: 'waiting', model: 'claude-haiku-4-5' }]
  const title = (changes) => headline.headline(status(changes)).title
  assert.equal(title({ gateway: { address: null, trouble: 'port 8432 is in use' } }), 'Port 8432 is in use.')
  assert.equal(title({ gateway: { address: null, trouble: null } }), 'The gate is shut.')
  const waiting = { critical: queue(0), normal: queue(3), background: queue(0) }
  assert.equal(title({ limits, live, queue: waiting }), '3 calls wait for Haiku 4.5 requests.', 'not for the fullest limit of others')
  const pace = headline.headline(status({ limits, live, queue: waiting })).detail
  assert.equal(pace, 'One leaves every 1.3 s: 48 a minute. All of them will have left in about 3.0 s.')
  const held = { ...waiting, background: { ...queue(2), eta_ms: null } }
  const unknown = headline.headline(status({ limits, live, queue: held })).detail
  assert.equal(unknown, 'One leaves every 1.3 s: 48 a minute.', 'nobody knows when those leave that a person holds')
  const paused = { critical: queue(0), normal: queue(0), background: queue(1, true) }
  assert.equal(title({ limits, queue: paused }), '1 background call waits: you paused them.')
  assert.equal(title({ limits }), 'Sonnet 4 input tokens are 96 % used. Nothing waits yet.')
  assert.equal(title({}), 'The gate is open.')
})
