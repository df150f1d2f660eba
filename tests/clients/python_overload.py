"""Fifty workers that never rest, with retries off, for as long as asked: none may see an error.

Environment: BASE_URL, TOKEN, SECONDS. Prints what they used as JSON.
"""
import asyncio
import json
import os
import random
import time

import anthropic

WORKERS = 50
END = time.monotonic() + float(os.environ["SECONDS"])
chance = random.Random(7)

client = anthropic.AsyncAnthropic(
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["TOKEN"],
    max_retries=0,
    timeout=900,
    http_client=anthropic.DefaultAsyncHttpxClient(limits=anthropic.DEFAULT_CONNECTION_LIMITS),
)


def ask(i):
    text = "Name a tide of the North Sea. " * chance.randint(1, 60)
    message = {"role": "user", "content": f"{text} [[output {chance.randint(5, 60)}]]"}
    urgency = chance.choice(["critical", "normal", "normal", "background"])
    headers = {"x-tidegate-priority": urgency, "x-tidegate-tenant": f"tenant-{i % 10}"}
    model = "claude-sonnet-4-5"
    return {"model": model, "max_tokens": chance.choice([64, 256, 1024]), "messages": [message], "extra_headers": headers}


async def call(i):
    if i % 2:
        return await client.messages.create(**ask(i))
    async with client.messages.stream(**ask(i)) as stream:
        return await stream.get_final_message()


async def work(i, answers):
    while time.monotonic() < END:
        answers.append(await call(i))


async def main():
    answers = []
    await asyncio.gather(*(work(i, answers) for i in range(WORKERS)))
    print(json.dumps({
        "calls": len(answers),
        "input_tokens": sum(answer.usage.input_tokens for answer in answers),
        "output_tokens": sum(answer.usage.output_tokens for answer in answers),
    }))


asyncio.run(main())
