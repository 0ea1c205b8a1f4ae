"""Picture to file: PNG, JPEG or WebP, with what it was made from written into it."""

from __future__ import annotations

import io
from typing import Any, Literal

from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image
from serve_app.core.origin import SOFTWARE, Origin, as_text
from serve_app.core.stage import Context, Strict

_LONGEST_PX = {"png": 65535, "jpeg": 65535, "webp": 16383}
_LONGEST_IN_JPEG = 65_000
"""Characters of ASCII: EXIF in a JPEG is one segment of at most 65533 bytes, its frame included."""
_ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_OWN: dict[str, frozenset[str]] = {
    "png": frozenset({"compression"}),
    "jpeg": frozenset({"quality", "subsampling"}),
    "webp": frozenset({"quality", "lossless"}),
}
"""The params that have an effect in each format; the others must not be given."""
_DESCRIBING = frozenset({"format", "name", "embed", "steps", "guidance"})


class ImageEncoder:
    """Encodes a picture into an artifact (`encode.image`); the same picture and params give the same bytes.

    PNG is lossless, and so is WebP with ``lossless``. Unless ``embed`` is false, a JSON object is written into the
    file: the picture's origin (the stage, model, seed, prompt, params and adapters that made it) and whichever of
    prompt, seed, steps and guidance are given here; in PNG as a text chunk called ``parameters``, in JPEG and WebP as
    EXIF's ImageDescription. ``greenlight inspect`` reads it again. The pixels are sRGB, and PNG says so.

    Ports: ``image``; ``prompt`` and ``seed``, to be embedded; where the stage that made the picture was given others,
    such as a prompt that was rewritten, those are embedded too, as ``stage_was_given``. Facts of the artifact:
    ``width``, ``height`` (px), ``format``, ``model``, and what was given here to be embedded. Raises InvalidInput for a
    size that the format cannot hold.
    """

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """``format`` of the file, and ``name`` without its ending. ``embed``: whether to write the parameters into it.

        ``quality`` 1..100 is JPEG's and WebP's, 92 unless given; ``lossless`` is WebP's. ``subsampling`` of colour is
        JPEG's: 4:4:4 keeps red edges sharp, 4:2:0 is smaller. ``compression`` 0..9 is PNG's effort. ``steps`` and
        ``guidance`` are those that the picture was made with, and are only written down.
        """

        format: Literal["png", "jpeg", "webp"] = "png"
        quality: int | None = Field(None, ge=1, le=100)
        subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"
        lossless: bool = False
        compression: int = Field(6, ge=0, le=9)
        embed: bool = True
        steps: int | None = Field(None, ge=1)
        guidance: float | None = Field(None, ge=0)
        name: str = Field("image", pattern=r"^\w[\w .-]{0,79}$")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput for a param that the format has no use for, or two that exclude each other."""
        for name in sorted(params.model_fields_set - _DESCRIBING - _OWN[params.format]):
            raise InvalidInput(name, f"has no effect in {params.format}; leave it out")
        if params.lossless and params.quality is not None:
            raise InvalidInput("quality", "a lossless file has none; leave it out")
        for name in ("steps", "guidance"):
            if not params.embed and getattr(params, name) is not None:
                raise InvalidInput(name, "is only written into the file, and embed is false")

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, image: Image, prompt: str | None = None, seed: int | None = None) -> Artifact:
        """Return the artifact of the encoded picture."""
        self.plan(params)
        longest = _LONGEST_PX[params.format]
        for name, length in (("width", image.width), ("height", image.height)):
            if not 1 <= length <= longest:
                raise InvalidInput(name, f"{length} px; {params.format} holds 1 to {longest}")
        given = _given(params, image, prompt, seed) if params.embed else {}
        origin = self._fitting(_both(image.origin, given), params.format) if params.embed else {}
        facts = {"width": image.width, "height": image.height, "format": params.format, "model": image.model}
        name = f"{params.name}.{_ENDINGS[params.format]}"
        facts |= {key: value for key, value in given.items() if key in origin}
        data = _encode(params, image, as_text(origin) if origin else None)
        return self._context.artifacts.put_bytes(data, f"image/{params.format}", name, facts)

    def _fitting(self, origin: dict[str, Any], format_: str) -> dict[str, Any]:
        """Return ``origin``, or as much of it as a JPEG holds; a warning says what is missing."""
        if format_ != "jpeg" or len(as_text(origin)) <= _LONGEST_IN_JPEG:
            return origin
        short = {key: value for key, value in origin.items() if key not in ("prompt", "stage_was_given")}
        if "prompt" in origin and len(as_text(short)) <= _LONGEST_IN_JPEG:
            self._context.warn("the prompt is too long for a JPEG's EXIF and is not embedded")
            return short
        self._context.warn("what it was made from is too long for a JPEG's EXIF: only the seed and model are embedded")
        return {key: origin[key] for key in ("seed", "model") if key in origin}


def _given(params: ImageEncoder.Params, image: Image, prompt: str | None, seed: int | None) -> dict[str, Any]:
    known: dict[str, Any] = {"prompt": prompt, "seed": seed, "model": image.model or None}
    known |= {"steps": params.steps, "guidance": params.guidance}
    return {key: value for key, value in known.items() if value is not None}


def _both(origin: Origin, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is given here over what the picture brought, of which nothing is lost."""
    other = {key: origin[key] for key, value in given.items() if origin.get(key, value) != value}
    return {**origin, **given, **({"stage_was_given": other} if other else {})}


def _encode(params: ImageEncoder.Params, image: Image, text: str | None) -> bytes:
    import numpy as np
    from PIL import Image as PillowImage

    from deployments.nets.exif import exif_of

    picture = PillowImage.fromarray(np.ascontiguousarray(image.pixels))
    stream, exif = io.BytesIO(), exif_of(text or "")
    quality = 92 if params.quality is None else params.quality
    if params.format == "png":
        picture.save(stream, "PNG", compress_level=params.compression, pnginfo=_chunks(text))
    elif params.format == "jpeg":
        picture.save(stream, "JPEG", quality=quality, subsampling=params.subsampling, optimize=True, exif=exif)
    else:
        effort = 100 if params.lossless else quality
        picture.save(stream, "WEBP", quality=effort, lossless=params.lossless, method=4, exif=exif.tobytes())
    return stream.getvalue()


def _chunks(text: str | None) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
    if text is not None:
        chunks.add_text("Software", SOFTWARE)
        chunks.add_itxt("parameters", text)
    return chunks
