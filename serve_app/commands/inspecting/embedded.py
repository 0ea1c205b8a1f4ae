"""What a file says of how it was made: an origin that Greenlight wrote, or the text of another program as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serve_app.core.origin import SOFTWARE, Origin, origin_in, signed

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_DESCRIPTION, _SOFTWARE, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x0131, 0x8769, 0x9286
_FILM_TEXTS = ("comment", "description", "synopsis", "parameters", "prompt", "workflow")


@dataclass(frozen=True)
class Embedded:
    """``origin`` as Greenlight writes it, and ``texts`` of others by the place where they stand.

    ``parameters`` in a PNG and ``UserComment`` in EXIF are where web interfaces of Stable Diffusion write theirs,
    ``prompt`` and ``workflow`` where ComfyUI does. Nothing is made of them: they are shown.
    """

    origin: Origin | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def as_comment(self) -> str:
        """Return it as the one comment of another file; empty when nothing is known."""
        return signed(self.origin) if self.origin is not None else self.texts.get("parameters", "")


def found_in_picture(picture: PillowImage.Image) -> Embedded:
    """Return what is embedded in an opened picture. Raises one of `BROKEN` where it is damaged."""
    return _sorted(dict(_picture_texts(picture)))


def found_in_film(metadata: Mapping[str, str]) -> Embedded:
    """Return what is embedded in a container with ``metadata``."""
    return _sorted({name: text for name in _FILM_TEXTS if (text := metadata.get(name, "").strip())})


def _sorted(texts: dict[str, str]) -> Embedded:
    is_ours = texts.pop("Software", "") == SOFTWARE
    for place, text in texts.items():
        if (origin := origin_in(text, is_ours)) is not None:
            return Embedded(origin, {name: other for name, other in texts.items() if name != place})
    return Embedded(None, texts)


def _picture_texts(picture: PillowImage.Image) -> Iterator[tuple[str, str]]:
    picture.load()  # a PNG's text may stand behind its pixels
    for name, text in getattr(picture, "text", {}).items():
        yield name, str(text)
    exif = picture.getexif()
    for name, value in (("Software", exif.get(_SOFTWARE)), ("ImageDescription", exif.get(_DESCRIPTION))):
        if value:
            yield name, _plain(value)
    if comment := exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT):
        yield "UserComment", _user_comment(comment)
    if comment := picture.info.get("comment"):
        yield "comment", _plain(comment)


def _plain(value: bytes | str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 \n")


def _user_comment(value: bytes | str) -> str:
    """Undo EXIF's eight bytes of encoding (CIPA DC-008, UserComment). Its UTF-16 is big-endian as most write it."""
    if isinstance(value, bytes) and value.startswith(b"UNICODE\0"):
        return value[8:].decode("utf-16-be", "replace").strip("\0 ")
    return _plain(value[8:] if isinstance(value, bytes) and value[:8] in (b"ASCII\0\0\0", bytes(8)) else value)
