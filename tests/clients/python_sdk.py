"""The official Python SDK, as people use it, against a gateway. Prints what it used as JSON.

Environment: BASE_URL, TOKEN. Exits with an assertion where an answer is not what the SDK promises.
"""
import json
import os

import anthropic

MODEL = "claude-sonnet-4-5"
client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0)
used = {"calls": 0, "input_tokens": 0, "output_tokens": 0}


def count(message):
    used["calls"] += 1
    usage = message.usage
    used["input_tokens"] += usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    used["output_tokens"] += usage.output_tokens
    return message


def ask(**changes):
    call = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Name three tides."}]}
    return call | changes


def plain():
    message = count(client.messages.create(**ask()))
    assert message.content[0].text, message
    assert message._request_id.startswith("req_"), message._request_id


def stream():
    with client.messages.stream(**ask()) as events:
        text = "".join(events.text_stream)
        message = count(events.get_final_message())
    assert text and text == message.content[0].text
    assert message.stop_reason, message


def raw_stream():
    events = list(client.messages.create(**ask(stream=True)))
    assert events[0].type == "message_start" and events[-1].type == "message_stop", events
    used["calls"] += 1
    used["input_tokens"] += events[0].message.usage.input_tokens
    used["output_tokens"] += next(event.usage.output_tokens for event in reversed(events) if event.type == "message_delta")


def tools():
    schema = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
    offered = [{"name": "tide", "description": "The tide at a port.", "input_schema": schema}]
    message = count(client.messages.create(**ask(tools=offered, tool_choice={"type": "tool", "name": "tide"})))
    call = next(block for block in message.content if block.type == "tool_use")
    assert call.name == "tide" and message.stop_reason == "tool_use", message
    with client.messages.stream(**ask(tools=offered, tool_choice={"type": "tool", "name": "tide"})) as events:
        message = count(events.get_final_message())
    assert any(block.type == "tool_use" for block in message.content), message


def token_count():
    answer = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Name three tides."}])
    assert answer.input_tokens > 0


def models():
    pages = [model.id for model in client.models.list(limit=2)]
    assert len(pages) > 2 and len(set(pages)) == len(pages), pages
    assert client.models.retrieve(pages[0]).id == pages[0]
    raises(anthropic.NotFoundError, lambda: client.models.retrieve("claude-nonesuch"))


def errors():
    bad = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key="tg-wrong", max_retries=0)
    raises(anthropic.AuthenticationError, lambda: bad.messages.create(**ask()))
    error = raises(anthropic.BadRequestError, lambda: client.post("/v1/messages", cast_to=object, body={"model": MODEL, "messages": []}))
    assert error.request_id, "an error of the upstream names its request"
    raises(anthropic.BadRequestError, lambda: client.post("/v1/messages", cast_to=object, body={"messages": []}))


def raises(kind, run):
    try:
        run()
    except kind as error:
        assert str(error), "an error says something"
        return error
    raise AssertionError(f"no {kind.__name__}")


plain()
stream()
raw_stream()
tools()
token_count()
models()
errors()
print(json.dumps(used))
