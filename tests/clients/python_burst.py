"""A hundred calls at once with retries off, as an eager program sends them: every one has to succeed.

Environment: BASE_URL, TOKEN, CALLS. Prints what it used as JSON.
"""
import asyncio
import json
import os

import anthropic

client = anthropic.AsyncAnthropic(
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["TOKEN"],
    max_retries=0,
    timeout=900,
    http_client=anthropic.DefaultAsyncHttpxClient(limits=anthropic.DEFAULT_CONNECTION_LIMITS),
)


async def call(i):
    message = {"role": "user", "content": f"Name tide number {i}. [[output 20]]"}
    return await client.messages.create(model="claude-sonnet-4-5", max_tokens=64, messages=[message])


async def main():
    answers = await asyncio.gather(*(call(i) for i in range(int(os.environ["CALLS"]))))
    print(json.dumps({
        "calls": len(answers),
        "input_tokens": sum(answer.usage.input_tokens for answer in answers),
        "output_tokens": sum(answer.usage.output_tokens for answer in answers),
    }))


asyncio.run(main())
