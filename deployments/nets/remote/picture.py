"""Pictures on their way to a server and back."""

from __future__ import annotations

import io

from serve_app.core.media import Image


def png_of(image: Image) -> bytes:
    """Return ``image`` as a PNG: the same pixels give the same bytes on one machine."""
    import PIL.Image

    stream = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
