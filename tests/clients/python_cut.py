"""One stream that breaks off after its first words: it has to raise. Prints what happened as JSON.

Environment: BASE_URL, TOKEN, FAULT: what the simulator shall do.
"""
import json
import os

import anthropic

client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0, timeout=60)
message = {"role": "user", "content": "Name three tides. [[output 60]]"}
text, raised = "", None
try:
    with client.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=256,
        messages=[message],
        extra_headers={"x-simulator-fault": os.environ["FAULT"]},
    ) as stream:
        for piece in stream.text_stream:
            text += piece
        stream.get_final_message()
except Exception as error:  # an error event as the SDK's own, a broken connection in the words of its HTTP library
    raised = repr(error)[:300]
print(json.dumps({"text": text, "raised": raised is not None, "error": raised}))
