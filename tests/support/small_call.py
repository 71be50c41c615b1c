"""A small call on the data listener."""

import json
import urllib.error
import urllib.request

from tests.support.installation import MODEL, Installation


def call(farebox: Installation, key: str, path: str = "/v1/chat/completions") -> int:
    """The status of a small call with this key."""
    body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(farebox.url + path, body, headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
