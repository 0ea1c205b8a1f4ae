"""What made a picture, in its EXIF: JPEG's and WebP's place for it."""

from __future__ import annotations

from PIL.Image import Exif

from serve_app.core.origin import SOFTWARE

_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131
"""Tags of EXIF: ImageDescription and Software."""


def exif_of(text: str) -> Exif:
    """Return EXIF that holds an origin's ``text`` (ASCII); an empty one for an empty text."""
    exif = Exif()
    if text:
        exif[_DESCRIPTION], exif[_SOFTWARE] = text, SOFTWARE
    return exif
