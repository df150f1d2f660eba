"""Each error of the upstream arrives as the exception type the Python SDK has for it.

Environment: BASE_URL, TOKEN, FAULTS: the statuses that the upstream will answer, in order, as JSON.
"""
import json
import os

import anthropic

TYPES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.APIStatusError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    504: anthropic.InternalServerError,
    529: anthropic.InternalServerError,
}
client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0)
no_wait = {"x-tidegate-max-wait": "0"}

for status in json.loads(os.environ["FAULTS"]):
    try:
        client.messages.create(
            model="claude-sonnet-4-5", max_tokens=8, messages=[{"role": "user", "content": "hi"}], extra_headers=no_wait
        )
    except anthropic.APIStatusError as error:
        assert error.status_code == status, f"{status} came as {error.status_code}: {error}"
        assert isinstance(error, TYPES[status]), f"{status} came as {type(error)}"
        assert error.body["error"]["message"], error.body
        assert error.request_id, f"{status} lost its request id"
    else:
        raise AssertionError(f"{status} came as an answer")
