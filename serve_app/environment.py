"""The one reader of the process environment. Everything else is configuration, in files that can be checked."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from serve_app.core.errors import Misconfigured

NAMES = {"GREENLIGHT_URL": "where the command line finds the server; http://127.0.0.1:8000 without it"}
"""Every environment variable that Greenlight itself reads, and what it means."""

DEFAULT_URL = "http://127.0.0.1:8000"


def server_url() -> str:
    """Return GREENLIGHT_URL without a trailing slash; raise Misconfigured unless it is an http or https address."""
    url = os.environ.get("GREENLIGHT_URL", DEFAULT_URL).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Misconfigured("GREENLIGHT_URL", f"{url!r} is no address like {DEFAULT_URL}")
    return url
