"""One server over HTTP: which requests may be sent again after which failure, and what each refusal means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

import httpx

from serve_app.core.errors import InvalidInput, Misconfigured, StageFailed, Unavailable

T = TypeVar("T")

_TOO_BUSY = (429, 503)
"""Answers that say: nothing was begun, come again."""
_UNDER_WAY = (408, 409, 425)
"""Answers that leave open what became of the request: it timed out, or the same one is being worked on."""
_CALLERS_FAULT = (400, 413, 422)
_LONGEST_PAUSE_S = 60.0
_BROKEN_OFF = (httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


@dataclass(frozen=True)
class Address:
    """Where the server is and how it is spoken to. ``patience_s``: for one answer; ``retries``: after the first try."""

    stage: str
    url: str
    key: str | None
    patience_s: float
    retries: int
    is_idempotent: bool
    backoff_s: float = 0.5


@dataclass(frozen=True)
class Ask:
    """One request that may cost money: a JSON ``body``, or with ``files`` a form. ``key`` is the same each time."""

    path: str
    body: Mapping[str, Any]
    key: str
    files: Mapping[str, tuple[str, bytes, str]] = field(default_factory=dict)
    is_form: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """What httpx is given."""
        if self.is_form or self.files:
            form = {name: (None, str(value).encode(), "text/plain") for name, value in self.body.items()}
            return {"files": {**form, **self.files}}
        return {"json": dict(self.body)}


class Server:
    """A connection to ``address``; use it as an asynchronous context manager."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = httpx.AsyncClient(timeout=address.patience_s, follow_redirects=True)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def _headers(self, url: str, accept: str) -> dict[str, str]:
        """Return what goes with a request. The key goes to its own server alone; what was made may lie elsewhere.

        (httpx leaves it behind where a redirect leads to another host.)
        """
        headers, own = {"accept": accept}, httpx.URL(self._address.url)
        its = httpx.URL(url)
        if self._address.key is not None and (its.scheme, its.host, its.port) == (own.scheme, own.host, own.port):
            headers["authorization"] = f"Bearer {self._address.key}"
        return headers

    async def order(self, ask: Ask, key: str) -> dict[str, Any]:
        """Send what may cost money, under ``key``, and return the answer.

        It is sent again when it cannot have been taken: no connection, 429, 503. When that is unknown (no answer came,
        408, 409, or a 5xx) it is sent again only to a server that honours `Idempotency-Key`.

        Raises Unavailable when the server could not be reached or was too busy (nothing was begun), StageFailed when
        it may have been taken and must not be sent again, InvalidInput for a refusal, Misconfigured for a wrong
        address or key.
        """
        pause_s = self._address.backoff_s
        for remaining in range(self._address.retries, -1, -1):
            doubt = f"{self._address.url} cannot be reached"
            url = self._url(ask.path)
            try:
                headers = {**self._headers(url, "application/json"), "idempotency-key": key}
                answer = await self._client.post(url, headers=headers, **ask.content)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
                is_open = False
            except _BROKEN_OFF as error:
                doubt, is_open = f"no answer came ({type(error).__name__})", True
            else:
                if not _is_worth_another(answer):
                    self._refuse(answer)
                    return self.document(answer)
                doubt, is_open = f"the answer was {answer.status_code}", answer.status_code not in _TOO_BUSY
                pause_s = _asked_pause_s(answer, pause_s)
            if is_open and not self._address.is_idempotent:
                reason = f"{doubt}; the request may have been taken, and a second one may cost a second time"
                raise StageFailed(self._address.stage, "Unanswered", reason)
            if remaining:
                await asyncio.sleep(min(pause_s, _LONGEST_PAUSE_S))
                pause_s *= 2
        raise Unavailable(self._address.url, doubt)

    @property
    def is_idempotent(self) -> bool:
        """Whether a second request under one key is the first one again."""
        return self._address.is_idempotent

    async def get(self, path: str, may_be_gone: bool = False) -> httpx.Response:
        """Fetch what costs nothing, again and again if it must be. Raises as ``order``; silence is Unavailable.

        What ``may_be_gone`` is returned with its 404.
        """

        async def whole(answer: httpx.Response) -> httpx.Response:
            await answer.aread()
            if not (may_be_gone and answer.status_code == 404):
                self._refuse(answer)
            return answer

        return await self._again(path, "application/json", whole)

    async def fetch(self, path: str, most_bytes: int) -> bytes:
        """Fetch a file of ``most_bytes`` at the most. Raises as ``get``, and StageFailed for a larger one."""
        return await self._again(path, "*/*", lambda answer: self._received(answer, most_bytes))

    async def _again(self, path: str, accept: str, receive: Callable[[httpx.Response], Awaitable[T]]) -> T:
        """Ask until an answer is worth receiving; raise Unavailable after the last try."""
        pause_s, doubt, url = self._address.backoff_s, "", self._url(path)
        for remaining in range(self._address.retries, -1, -1):
            try:
                async with self._client.stream("GET", url, headers=self._headers(url, accept)) as answer:
                    if not _is_worth_another(answer):
                        return await receive(answer)
                    doubt = f"the answer was {answer.status_code}"
                    pause_s = _asked_pause_s(answer, pause_s)
            except httpx.TransportError as error:
                doubt = f"{type(error).__name__}"
            if remaining:
                await asyncio.sleep(min(pause_s, _LONGEST_PAUSE_S))
                pause_s *= 2
        raise Unavailable(self._address.url, f"{path}: {doubt}")

    async def _received(self, answer: httpx.Response, most_bytes: int) -> bytes:
        if not answer.is_success:
            await answer.aread()
            self._refuse(answer)
        data = bytearray()
        async for part in answer.aiter_bytes():
            data += part
            if len(data) > most_bytes:
                raise StageFailed(self._address.stage, "TooLarge", f"its file has more than {most_bytes} bytes")
        return bytes(data)

    async def stop(self, method: Literal["POST", "DELETE"], path: str) -> bool:
        """Ask the server to stop a job; return whether it said yes. Never raises for what the server answers."""
        try:
            url = self._url(path)
            answer = await self._client.request(method, url, headers=self._headers(url, "application/json"))
        except httpx.TransportError:
            return False
        return answer.is_success

    def _url(self, path: str) -> str:
        return path if path.startswith(("http://", "https://")) else f"{self._address.url.rstrip('/')}{path}"

    def document(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the JSON object in ``answer``; raise StageFailed where there is none."""
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StageFailed(self._address.stage, "BadAnswer", f"{answer.url.path}: no JSON object came")
        return document

    def _refuse(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        said, param = _said(answer)
        if answer.status_code in (401, 403):
            raise Misconfigured("weights.key_file", f"{self._address.url} does not accept it: {said}")
        if answer.status_code in (404, 405):
            raise Misconfigured("weights.url", f"{answer.url.path} is answered with {answer.status_code}: {said}")
        if answer.status_code in _CALLERS_FAULT:
            raise InvalidInput(param or "request", f"{self._address.url} refuses it ({answer.status_code}): {said}")
        raise StageFailed(self._address.stage, "Refused", f"{answer.url.path}: {answer.status_code}: {said}")


def _is_worth_another(answer: httpx.Response) -> bool:
    return answer.status_code in (*_TOO_BUSY, *_UNDER_WAY) or answer.status_code >= 500


def _asked_pause_s(answer: httpx.Response, otherwise_s: float) -> float:
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else otherwise_s


def _said(answer: httpx.Response) -> tuple[str, str | None]:
    """Return the server's reason, in short, and the field that it names: OpenAI's envelope, FastAPI's, or any text."""
    try:
        document = answer.json()
    except ValueError:
        return answer.text[:300].strip() or answer.reason_phrase, None
    inner = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(inner, dict):
        text = inner.get("message") or inner.get("detail") or inner
        return str(text)[:300], inner["param"] if isinstance(inner.get("param"), str) else None
    return str(inner)[:300], None
