"""Pictures that arrive as text: a data URL (RFC 2397) or plain base64. Nothing is ever fetched on a caller's behalf."""

from __future__ import annotations

import binascii
import re

from serve_app.core.errors import InvalidPicture, TooLarge
from serve_app.http.service import Upload

_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w-]+=[\w-]+)*;base64,", re.ASCII | re.IGNORECASE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)


def from_text(field: str, text: str, limit_bytes: int) -> Upload:
    """Return the bytes that ``text`` carries; raise InvalidPicture or TooLarge naming ``field``."""
    if _ELSEWHERE.match(text):
        raise InvalidPicture(
            field, "this server fetches no addresses; send the picture itself, as a data URL or a file"
        )
    encoded = text
    if text[:5].lower() == "data:":
        head = _DATA_URL.match(text)
        if head is None:
            raise InvalidPicture(field, "a data URL starts with `data:image/png;base64,` or another image type")
        encoded = text[head.end() :]
    if len(encoded) // 4 * 3 > limit_bytes + 2:
        raise TooLarge(field, f"the picture is larger than {limit_bytes} bytes")
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:  # binascii.Error, and text that is not ASCII
        raise InvalidPicture(field, f"this is neither a data URL nor base64: {error}") from error
    return checked(field, Upload(data, None), limit_bytes)


def checked(field: str, upload: Upload, limit_bytes: int) -> Upload:
    """Return ``upload``; raise InvalidPicture when it is empty, TooLarge beyond ``limit_bytes``."""
    if not upload.data:
        raise InvalidPicture(field, "the file is empty")
    if len(upload.data) > limit_bytes:
        raise TooLarge(field, f"the file is {len(upload.data)} bytes and the limit is {limit_bytes}")
    return upload
