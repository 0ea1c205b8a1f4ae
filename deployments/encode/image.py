"""Picture to file: PNG, JPEG or WebP, with what it was made from written into it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from PIL.Image import Exif

_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131
"""EXIF tags: ImageDescription and Software."""
_LONGEST_PX = {"png": 65535, "jpeg": 65535, "webp": 16383}
_LONGEST_IN_JPEG = 60_000
"""Characters: EXIF in a JPEG is one segment of at most 65533 bytes."""
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

    PNG is lossless, and so is WebP with ``lossless``. Unless ``embed`` is false, a JSON object is written into the file
    with whichever of prompt, seed, model, steps and guidance are known: in PNG as a text chunk called ``parameters``,
    in JPEG and WebP as EXIF's ImageDescription. The pixels are sRGB, and PNG says so.

    Ports: ``image``; ``prompt`` and ``seed``, to be embedded. Facts of the artifact: ``width``, ``height`` (px),
    ``format``, ``model``, and what is embedded. Raises InvalidInput for a size that the format cannot hold.
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
        made_from = self._made_from(params, image, prompt, seed) if params.embed else {}
        facts = {"width": image.width, "height": image.height, "format": params.format, "model": image.model}
        name = f"{params.name}.{_ENDINGS[params.format]}"
        data = _encode(params, image, made_from)
        return self._context.artifacts.put_bytes(data, f"image/{params.format}", name, {**facts, **made_from})

    def _made_from(
        self, params: ImageEncoder.Params, image: Image, prompt: str | None, seed: int | None
    ) -> dict[str, Any]:
        known: dict[str, Any] = {"prompt": prompt, "seed": seed, "model": image.model or None}
        known |= {"steps": params.steps, "guidance": params.guidance}
        if params.format == "jpeg" and len(json.dumps(prompt)) > _LONGEST_IN_JPEG:
            self._context.warn("the prompt is too long for a JPEG's EXIF and is not embedded")
            del known["prompt"]
        return {key: value for key, value in known.items() if value is not None}


def _encode(params: ImageEncoder.Params, image: Image, made_from: dict[str, Any]) -> bytes:
    import numpy as np
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(np.ascontiguousarray(image.pixels))
    text = json.dumps(made_from, sort_keys=True) if made_from else None
    stream = io.BytesIO()
    quality = 92 if params.quality is None else params.quality
    if params.format == "png":
        picture.save(stream, "PNG", compress_level=params.compression, pnginfo=_chunks(text))
    elif params.format == "jpeg":
        picture.save(stream, "JPEG", quality=quality, subsampling=params.subsampling, optimize=True, exif=_exif(text))
    else:
        effort = 100 if params.lossless else quality
        picture.save(stream, "WEBP", quality=effort, lossless=params.lossless, method=4, exif=_exif(text).tobytes())
    return stream.getvalue()


def _chunks(text: str | None) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
    if text is not None:
        chunks.add_text("Software", "Greenlight")
        chunks.add_itxt("parameters", text)
    return chunks


def _exif(text: str | None) -> Exif:
    from PIL.Image import Exif

    exif = Exif()
    if text is not None:
        exif[_DESCRIPTION], exif[_SOFTWARE] = text, "Greenlight"
    return exif
