"""Asking a server over HTTP: what may be tried again, what may not, and how addresses are shown to people."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from serve_app.core.errors import NotFetched

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_REASONS = {
    401: "it wants a token; for the hub, set HF_TOKEN",
    403: "access is denied; where a licence must be accepted first, accept it on the hub and set HF_TOKEN",
    404: "it is not there",
    410: "it is gone",
}
_TRANSIENT = (408, 425, 429)


@dataclass(frozen=True)
class Bounds:
    """How much is taken from a server, and how patiently."""

    most_bytes: int = 200 << 30
    """The largest file."""
    attempts: int = 6
    """Failures in a row, without a byte between them, after which it is given up."""
    first_pause_s: float = 0.5
    """After the first failure; doubled after each further one."""
    longest_pause_s: float = 20.0
    """Also of those that a server asks for."""
    connect_s: float = 10.0
    read_s: float = 60.0
    """Silence in the middle of an answer."""


USUAL = Bounds()


class Transient(Exception):
    """Raised inside an attempt that may be made again, perhaps after what the server asked for."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason, pause_s)
        self.reason, self.pause_s = reason, pause_s


def shown(url: str) -> str:
    """Return ``url`` without user, password, query and fragment: any of them may be a secret."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return urlunsplit((parts.scheme, f"[{host}]{port}" if ":" in host else f"{host}{port}", parts.path, "", ""))


def check_url(url: str) -> None:
    """Raise NotFetched for what is no http or https address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotFetched(shown(url), "it is no http or https address")


def client(bounds: Bounds) -> httpx.Client:
    """Return a client that follows a few redirects; a token goes to the first server alone."""
    import httpx

    timeout = httpx.Timeout(bounds.read_s, connect=bounds.connect_s)
    return httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5)


def refuse_unless_good(what: str, response: httpx.Response) -> None:
    """Raise Transient for an answer that another attempt may mend, NotFetched for every other but 200 and 206."""
    asked, status = response.history[0].url if response.history else response.url, response.status_code
    if asked.scheme == "https" and response.url.scheme == "http":
        raise NotFetched(what, "it leads from https to http")
    if status in _TRANSIENT or status >= 500:
        raise Transient(f"HTTP {status}", _asked_pause_s(response.headers.get("retry-after", "")))
    if status not in (200, 206):
        raise NotFetched(what, f"HTTP {status}" + (f": {_REASONS[status]}" if status in _REASONS else ""))


def _asked_pause_s(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None


def patiently(what: str, bounds: Bounds, attempt: Callable[[], T], done: Callable[[], int] = lambda: 0) -> T:
    """Return what ``attempt`` returns, made again after Transient and lost connections.

    ``done`` says how many bytes there are: failures with some between them do not add up. Raises NotFetched.
    """
    import httpx

    failures, before = 0, done()
    while True:
        try:
            return attempt()
        except Transient as error:
            reason, asked_s = error.reason, error.pause_s
        except (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError) as error:
            reason, asked_s = f"{type(error).__name__} {error}".strip(), None
        failures = 1 if done() > before else failures + 1
        before = done()
        if failures >= bounds.attempts:
            raise NotFetched(what, f"{reason}, {failures} times in a row")
        pause_s = bounds.first_pause_s * 2 ** (failures - 1) if asked_s is None else asked_s
        time.sleep(min(pause_s, bounds.longest_pause_s))


def get_json(url: str, token: str | None, bounds: Bounds) -> Any:
    """Return a JSON document of at most 64 MiB. Raises NotFetched."""
    what = shown(url)
    check_url(url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def attempt() -> Any:
        response = session.get(url, headers=headers)
        refuse_unless_good(what, response)
        if len(response.content) > 64 << 20:
            raise NotFetched(what, "the answer is larger than 64 MiB")
        try:
            return response.json()
        except ValueError as error:
            raise NotFetched(what, "the answer is not JSON") from error

    with client(bounds) as session:
        return patiently(what, bounds, attempt)
