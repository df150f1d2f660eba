"""Workers that call as long as asked, with retries off, while the upstream fails in every way it can.

Environment: BASE_URL, TOKEN, SECONDS, WORKERS. Prints, as JSON: what each call used, and each error with the moment it came.
"""
import asyncio
import json
import os
import random
import time

import anthropic

WORKERS = int(os.environ["WORKERS"])
START = time.time()
END = time.monotonic() + float(os.environ["SECONDS"])
chance = random.Random(7)

client = anthropic.AsyncAnthropic(
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["TOKEN"],
    max_retries=0,
    timeout=60,
    http_client=anthropic.DefaultAsyncHttpxClient(limits=anthropic.DEFAULT_CONNECTION_LIMITS),
)


def ask():
    message = {"role": "user", "content": f"Name tide {chance.randint(1, 10**9)}. [[output {chance.randint(5, 60)}]]"}
    return {"model": "claude-sonnet-4-5", "max_tokens": 256, "messages": [message]}


async def call(i):
    if i % 2:
        answer = await client.messages.with_raw_response.create(**ask())
        return answer.headers["x-tidegate-call"], await answer.parse()
    async with client.messages.stream(**ask()) as stream:
        async for _ in stream:
            pass
        return stream.response.headers["x-tidegate-call"], await stream.get_final_message()


async def work(i, answers, errors):
    while time.monotonic() < END:
        began = time.time()
        try:
            name, answer = await call(i)
            assert answer.stop_reason, "an answer that did not end was taken for whole"
            answers[name] = [answer.usage.input_tokens, answer.usage.output_tokens]
        except anthropic.APIError as error:
            code = getattr(error, "status_code", None)
            errors.append({"began": began, "ended": time.time(), "status": code, "what": str(error)[:200]})
        except Exception as error:  # a broken connection: httpx tells it in its own words
            errors.append({"began": began, "ended": time.time(), "status": None, "what": repr(error)[:200]})
        await asyncio.sleep(0.05)


async def main():
    answers, errors = {}, []
    await asyncio.gather(*(work(i, answers, errors) for i in range(WORKERS)))
    print(json.dumps({
        "start": START,
        "calls": len(answers),
        "errors": errors,
        "used": answers,
    }))


asyncio.run(main())
