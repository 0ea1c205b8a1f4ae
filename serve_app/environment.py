"""The one reader of the process environment. Everything else is configuration, in files that can be checked."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from serve_app.core.errors import Misconfigured

NAMES = {
    "GREENLIGHT_URL": "where the command line finds the server; http://127.0.0.1:8000 without it",
    "GREENLIGHT_CACHE": "where files from plain addresses are kept; ~/.cache/greenlight without it. Those of the hub "
    "are in the hub's own cache, which HF_HOME moves",
    "HF_ENDPOINT": "the hub, or a mirror of it; https://huggingface.co without it",
    "HF_TOKEN": "for repositories of the hub that are not for everybody; sent to the hub alone",
    "HF_HUB_OFFLINE": "when it is 1 or true, nothing is asked of the hub: what is not here is an error",
}
"""Every environment variable that Greenlight itself reads, and what it means."""

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_HUB = "https://huggingface.co"


def server_url(given: str | None = None) -> str:
    """Return ``given`` (of ``--url``), or else GREENLIGHT_URL, without a trailing slash.

    Raises Misconfigured naming whichever it was unless it is an http or https address.
    """
    name = "GREENLIGHT_URL" if given is None else "--url"
    return _address(name, os.environ.get("GREENLIGHT_URL", DEFAULT_URL) if given is None else given, DEFAULT_URL)


def cache_directory() -> Path:
    """Return where files from plain addresses are kept."""
    return Path(os.environ.get("GREENLIGHT_CACHE") or Path.home() / ".cache" / "greenlight")


def hub_endpoint() -> str:
    """Return the hub's address, without a trailing slash; raise Misconfigured naming HF_ENDPOINT if it is none."""
    return _address("HF_ENDPOINT", os.environ.get("HF_ENDPOINT") or DEFAULT_HUB, DEFAULT_HUB)


def hub_token() -> str | None:
    """Return the token for the hub, if there is one."""
    return os.environ.get("HF_TOKEN", "").strip() or None


def is_hub_offline() -> bool:
    """Whether the hub must not be asked; read as the hub's own library reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _address(name: str, text: str, example: str) -> str:
    url = text.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Misconfigured(name, f"{url!r} is no address like {example}")
    return url


def for_own_ray() -> dict[str, str]:
    """Return the environment for a Ray that we start ourselves: it reports no usage unless somebody has asked it to."""
    return {"RAY_USAGE_STATS_ENABLED": "0", **os.environ}
