"""Every answer carries X-Request-ID: the caller's own, when it is a sensible one, or a new one."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
_SENSIBLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # nothing that could forge a line in a log


class RequestId:
    """ASGI middleware. Plain ASGI, since BaseHTTPMiddleware hides a client's departure from streaming answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the id in ``scope`` and on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SENSIBLE.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def of(request: HTTPConnection) -> str:
    """Return the id of ``request``."""
    return str(request.state.request_id)
