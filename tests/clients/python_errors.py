"""Each error of the upstream arrives as the exception type the Python SDK has for it.

Environment: BASE_URL, TOKEN. The upstream is the simulator: a marker in the prompt asks for the error.
"""
import os

import anthropic

EXPECTED = {
    "invalid_request": (400, anthropic.BadRequestError),
    "authentication": (401, anthropic.AuthenticationError),
    "permission": (403, anthropic.PermissionDeniedError),
    "not_found": (404, anthropic.NotFoundError),
    "request_too_large": (413, anthropic.APIStatusError),
    "internal": (500, anthropic.InternalServerError),
    "timeout": (504, anthropic.InternalServerError),
    "overloaded": (529, anthropic.InternalServerError),
    # The last one: after a true 429 the gateway itself holds calls back.
    "rate_requests": (429, anthropic.RateLimitError),
}
client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0)
no_wait = {"x-tidegate-max-wait": "0"}


def ask(fault):
    message = {"role": "user", "content": f"hi [[fault {fault}]]"}
    return client.messages.create(model="claude-sonnet-4-5", max_tokens=8, messages=[message], extra_headers=no_wait)


for fault, (status, kind) in EXPECTED.items():
    try:
        ask(fault)
    except anthropic.APIStatusError as error:
        assert error.status_code == status, f"{fault} came as {error.status_code}: {error}"
        assert isinstance(error, kind), f"{fault} came as {type(error)}"
        assert error.body["error"]["message"], error.body
        assert error.request_id, f"{fault} lost its request id"
    else:
        raise AssertionError(f"{fault} came as an answer")
