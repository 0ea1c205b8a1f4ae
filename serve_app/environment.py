"""The one reader of the process environment. Everything else is configuration, in files that can be checked."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from serve_app.core.errors import Misconfigured

NAMES = {"GREENLIGHT_URL": "where the command line finds the server; http://127.0.0.1:8000 without it"}
"""Every environment variable that Greenlight itself reads, and what it means."""

DEFAULT_URL = "http://127.0.0.1:8000"


def server_url(given: str | None = None) -> str:
    """Return ``given`` (of ``--url``), or else GREENLIGHT_URL, without a trailing slash.

    Raises Misconfigured naming whichever it was unless it is an http or https address.
    """
    name = "GREENLIGHT_URL" if given is None else "--url"
    url = (os.environ.get("GREENLIGHT_URL", DEFAULT_URL) if given is None else given).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Misconfigured(name, f"{url!r} is no address like {DEFAULT_URL}")
    return url


def for_own_ray() -> dict[str, str]:
    """Return the environment for a Ray that we start ourselves: it reports no usage unless somebody has asked it to."""
    return {"RAY_USAGE_STATS_ENABLED": "0", **os.environ}
