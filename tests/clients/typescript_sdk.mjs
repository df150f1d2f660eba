// The official TypeScript SDK, as people use it, against a gateway. Prints what it used as JSON.
// Environment: BASE_URL, TOKEN.
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'

const { BASE_URL: baseURL, TOKEN: apiKey } = process.env
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 })
const used = { calls: 0, input_tokens: 0, output_tokens: 0 }
const ask = (changes = {}) => ({
  model: 'claude-sonnet-4-5',
  max_tokens: 64,
  messages: [{ role: 'user', content: 'Name three tides.' }],
  ...changes,
})

function count(message) {
  const { usage } = message
  used.calls += 1
  used.input_tokens += usage.input_tokens + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0)
  used.output_tokens += usage.output_tokens
  return message
}

// Plain, with the id of the request.
const plain = count(await client.messages.create(ask()))
assert.ok(plain.content[0].text)
assert.match(plain._request_id, /^req_/)

// A stream, put together by the SDK.
let streamed = ''
const stream = client.messages.stream(ask()).on('text', (text) => { streamed += text })
const message = count(await stream.finalMessage())
assert.equal(message.content[0].text, streamed)

// A stream, event by event.
const kinds = []
for await (const event of await client.messages.create(ask({ stream: true }))) {
  kinds.push(event.type)
  if (event.type === 'message_start') used.input_tokens += event.message.usage.input_tokens
  if (event.type === 'message_delta') used.output_tokens += event.usage.output_tokens
}
used.calls += 1
assert.equal(kinds[0], 'message_start')
assert.equal(kinds.at(-1), 'message_stop')

// Tools.
const tools = [{ name: 'tide', input_schema: { type: 'object', properties: { port: { type: 'string' } } } }]
const called = count(await client.messages.create(ask({ tools, tool_choice: { type: 'tool', name: 'tide' } })))
assert.equal(called.stop_reason, 'tool_use')
assert.equal(called.content.find((block) => block.type === 'tool_use').name, 'tide')

// Token counts and models, page by page.
const counted = await client.messages.countTokens({ model: 'claude-sonnet-4-5', messages: ask().messages })
assert.ok(counted.input_tokens > 0)
const models = []
for await (const model of client.models.list({ limit: 2 })) models.push(model.id)
assert.ok(models.length > 2 && new Set(models).size === models.length)

// Errors as the types the SDK has for them.
await assert.rejects(client.models.retrieve('claude-nonesuch'), Anthropic.NotFoundError)
await assert.rejects(new Anthropic({ baseURL, apiKey: 'tg-wrong', maxRetries: 5 }).messages.create(ask()), Anthropic.AuthenticationError)
await assert.rejects(client.messages.create(ask({ messages: [] })), Anthropic.BadRequestError)

console.log(JSON.stringify(used))
