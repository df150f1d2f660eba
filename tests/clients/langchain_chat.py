"""A LangChain chat model over a gateway: one answer, one stream. Prints what it used as JSON.

Environment: BASE_URL, TOKEN.
"""
import json
import os

from langchain_anthropic import ChatAnthropic

chat = ChatAnthropic(
    model="claude-sonnet-4-5", max_tokens=64, max_retries=0, base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"]
)
answer = chat.invoke("Name three tides.")
assert answer.content, answer
pieces = list(chat.stream("Name three tides."))
assert len(pieces) > 1, pieces
whole = pieces[0]
for piece in pieces[1:]:
    whole = whole + piece
assert whole.content, whole

used = [answer.usage_metadata, whole.usage_metadata]
print(json.dumps({
    "calls": 2,
    "input_tokens": sum(usage["input_tokens"] for usage in used),
    "output_tokens": sum(usage["output_tokens"] for usage in used),
}))
