"""`Idempotency-Key` on POST: the same key and the same body are the same run, however often they are sent.

As the IETF's draft has it (draft-ietf-httpapi-idempotency-key-header); quotes around the key may be left out. The key
becomes the run's id, so that any replica, at any time, finds the run: another body under the key is a 409.
"""

from __future__ import annotations

import hashlib

from starlette.requests import Request

from serve_app.core.errors import InvalidInput

HEADER = "Idempotency-Key"
_LIMIT = 255
_DIGITS = 40
_SWEEP_ID = 40


def run_id_of(request: Request) -> str | None:
    """Return the id that the request's key stands for, None without one; raise InvalidInput for what is no key."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0].strip()
    key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if len(given) > 1 or not 1 <= len(key) <= _LIMIT or not (key.isascii() and key.isprintable()):
        raise InvalidInput(HEADER, f"it is one key of 1 to {_LIMIT} printable ASCII characters")
    return f"key_{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}"


def sweep_id_of(request: Request) -> str | None:
    """Return the same for a sweep, whose ids are shorter: 36 of the 40 digits."""
    run_id = run_id_of(request)
    return None if run_id is None else run_id[:_SWEEP_ID]
