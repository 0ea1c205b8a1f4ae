"""multipart/form-data (RFC 7578), parsed strictly: names, file names and texts are UTF-8, and the body must be whole.

Starlette's own form parser falls back to Latin-1 where text is not UTF-8, and neither it nor python-multipart notices a
body whose closing boundary never came; both would hand on something that the caller did not mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serve_app.core.errors import BadRequest, TooLarge
from serve_app.http.strict_json import check_text

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass(frozen=True)
class Part:
    """One part of a form: a file when it has a ``filename`` (perhaps an empty one), a text otherwise."""

    name: str
    filename: str | None
    data: bytes

    @property
    def is_file(self) -> bool:
        """Whether the caller sent a file name with it."""
        return self.filename is not None

    def text(self) -> str:
        """Return the part as text; raise BadRequest unless it is UTF-8 that a store can keep."""
        text = _decode(self.data, self.name)
        check_text(text, self.name)
        return text


@dataclass
class _Collector:
    """Gathers what python-multipart's callbacks report."""

    limit: int
    parts: list[Part] = field(default_factory=list)
    is_whole: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _data: bytearray = field(default_factory=bytearray)
    _disposition: str | None = None

    def begin(self) -> None:
        if len(self.parts) == self.limit:
            raise TooLarge("body", f"the form has more than {self.limit} parts")
        self._data, self._disposition = bytearray(), None

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._header, self._value = bytearray(), bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or not options.get(b"name"):
            raise BadRequest("body", f"part {len(self.parts) + 1} of the form has no name")
        name = _decode(options[b"name"], "body")
        filename = _decode(options[b"filename"], name) if b"filename" in options else None
        self.parts.append(Part(name, filename, bytes(self._data)))

    def finish(self) -> None:
        self.is_whole = True

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.begin,
            "on_header_field": self.header_field,
            "on_header_value": self.header_value,
            "on_header_end": self.header_end,
            "on_part_data": self.data,
            "on_part_end": self.end,
            "on_end": self.finish,
        }


def parse(raw: bytes, boundary: bytes, max_parts: int) -> list[Part]:
    """Return the parts of ``raw`` in order; raise BadRequest (not a whole form), TooLarge (more than ``max_parts``)."""
    collector = _Collector(max_parts)
    try:
        MultipartParser(boundary, collector.callbacks()).write(raw)
    except FormParserError as error:
        raise BadRequest("body", f"this is not multipart/form-data: {error}") from error
    if not collector.is_whole:
        raise BadRequest("body", "the form is cut short: its closing boundary is missing")
    return collector.parts


def _decode(data: bytes, field_name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(field_name, f"the text is not UTF-8: byte {error.start}") from error
