"""What this replica of the API has answered: a count of every answer, by address and status, and of every refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.core.errors import GreenlightError
from serve_app.telemetry.metrics import Family, Labels

OTHER = "other"
"""The address of what no route answers, and the method of what is none: neither may make up series."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Traffic:
    """Counts answers. Its ``replica`` tells it from other replicas, each of which counts its own from its start."""

    def __init__(self) -> None:
        self.replica = uuid4().hex[:8]
        self._answers: Counter[Labels] = Counter()
        self._problems: Counter[Labels] = Counter(dict.fromkeys(((code, self.replica) for code in _codes()), 0))

    def count(self, scope: Scope, status: int) -> None:
        """Count one answer of ``status`` to the request in ``scope``."""
        path = getattr(scope.get("route"), "path", OTHER)
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        self._answers[method, path, str(status), self.replica] += 1
        code = scope.get("state", {}).get("problem")
        if code is not None:
            self._problems[code, self.replica] += 1

    def families(self) -> Iterator[Family]:
        """Yield the counters. Problems of 4xx codes are there from the start, at 0."""
        labels = ("method", "path", "status", "replica")
        yield Family("http_answers", "counter", "Answers of this replica of the API.", labels, dict(self._answers))
        meaning = "Problem documents by code: invalid_input is validation, bad_adapter an adapter, busy a full queue."
        yield Family("http_problems", "counter", meaning, ("code", "replica"), dict(self._problems))


class Counting:
    """ASGI middleware that tells ``traffic`` of every answer when it starts, or as a 500 when none does."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app, self.traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        is_started = False

        async def send_counted(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                self.traffic.count(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            if not is_started:  # what nobody foresaw: the answer is given further out
                self.traffic.count(scope, 500)


def _codes() -> set[str]:
    """Return the codes of every problem of ours below 500."""
    kinds = [GreenlightError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return {kind.code for kind in kinds if kind.status < 500}
