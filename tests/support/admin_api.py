"""A client of the admin API for tests: requests as JSON, answers as values, and what every answer must have."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from tests.support.installation import ADMIN_TOKEN

PREFIX = "/admin/v1"


class Answer(NamedTuple):
    """What came back; `value` is the JSON, or the text of what is none."""

    status: int
    value: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.value["error"]["code"])


class AdminApi:
    """Sends requests with one credential."""

    def __init__(self, url: str, credential: str | None = ADMIN_TOKEN) -> None:
        self._address = urlsplit(url).netloc
        self._credential = credential

    def acting_as(self, credential: str | None) -> "AdminApi":
        return AdminApi(f"http://{self._address}", credential)

    def get(self, *path: str, **query: Any) -> Answer:
        return self.send("GET", *path, query=query)

    def post(self, *path: str, body: Any = None, key: str | None = None, **query: Any) -> Answer:
        return self.send("POST", *path, body=body, query=query, headers={"idempotency-key": key} if key else {})

    def patch(self, *path: str, body: Any) -> Answer:
        return self.send("PATCH", *path, body=body)

    def put(self, *path: str, body: Any) -> Answer:
        return self.send("PUT", *path, body=body)

    def send(
        self, method: str, *path: str, body: Any = None, query: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """`path` are its segments, which are quoted; bytes as `body` go as they are."""
        target = PREFIX + "".join("/" + quote(part, safe="") for part in path)
        if query:
            target += "?" + (query if isinstance(query, str) else urlencode(query))
        sent = {"content-type": "application/json"} if body is not None else {}
        if self._credential is not None:
            sent["authorization"] = f"Bearer {self._credential}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, target, data, {**sent, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        is_json = found.get("content-type", "").partition(";")[0] == "application/json"
        return Answer(answer.status, json.loads(text) if is_json else text.decode(), found)

    def made(self, *path: str, body: Any, key: str | None = None) -> Any:
        """What a POST made; fails the test where it did not."""
        answer = self.post(*path, body=body, key=key)
        assert answer.status == 201, answer
        return answer.value

    def account(self, name: str, **more: Any) -> str:
        """A new account's id."""
        return str(self.made("accounts", body={"name": name, **more})["id"])
