"""Pictures that a clip of LTX-2 must show at some of its frames, and how firmly. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image
from serve_app.core.stage import Strict

PORTS = ("image", "middle_image", "last_image")

KEYFRAMES = {
    "middle_image": "conditions of LTX2ConditionPipeline, at the very frame, where diffusers is up to 7 early",
    "last_image": "conditions of LTX2ConditionPipeline, at the very last frame, where diffusers is 7 early",
    "image_strength": "strength of its condition; refused without an image",
    "middle_image_strength": "strength of its condition; refused without a middle_image",
    "last_image_strength": "strength of its condition; refused without a last_image",
    "middle_frame": "where middle_image is shown; refused without one",
}
"""What the family's `mapping` says of them; of `image` it says it itself."""


@dataclass(frozen=True)
class Keyframe:
    """A picture of any size, the frame (from 0) that shows it, and how firmly: 1 keeps it, towards 0 it is a hint."""

    picture: Image
    frame: int
    strength: float

    @property
    def is_held(self) -> bool:
        """Whether it is the first frame, kept as it is."""
        return self.frame == 0 and self.strength == 1


class KeyframeParams(Strict):
    """The params of it. ``strength`` 1 keeps a picture: the opposite of what image-to-image models mean by the word."""

    image_strength: float = Field(
        1.0, gt=0, le=1, description="How firmly the first frame shows `image`: 1 keeps it, towards 0 it is a hint."
    )
    middle_image_strength: float = Field(1.0, gt=0, le=1, description="The same of `middle_image`.")
    last_image_strength: float = Field(1.0, gt=0, le=1, description="The same of `last_image`.")
    middle_frame: int | None = Field(
        None, ge=1, description="The frame, from 0, that shows `middle_image`: the one in the middle."
    )


def check_keyframes(params: KeyframeParams, frames: int) -> None:
    """Raise InvalidInput naming `middle_frame` unless it lies between the first and the last of `frames`."""
    if params.middle_frame is not None and params.middle_frame >= frames - 1:
        reason = f"{params.middle_frame} is not between the first and the last of {frames} frames, 0 and {frames - 1}"
        raise InvalidInput("middle_frame", reason)


def needed_ports(params: KeyframeParams) -> tuple[str, ...]:
    """Return the ports without whose pictures some of `params` would have no effect."""
    wanted = {
        "image": params.image_strength != 1,
        "middle_image": params.middle_image_strength != 1 or params.middle_frame is not None,
        "last_image": params.last_image_strength != 1,
    }
    return tuple(port for port, is_wanted in wanted.items() if is_wanted)


def keyframes_of(params: KeyframeParams, frames: int, pictures: Mapping[str, Image | None]) -> tuple[Keyframe, ...]:
    """Return the keyframes of a clip of `frames`, in the order of time; `pictures` are by port.

    Raise InvalidInput naming a port whose picture the params need, or `frames` where there are too few.
    """
    for port in needed_ports(params):
        if pictures.get(port) is None:
            raise InvalidInput(port, "is needed by its strength or frame, which would have no effect")
    middle = frames // 2 if params.middle_frame is None else params.middle_frame
    places = {
        "image": (0, params.image_strength),
        "middle_image": (middle, params.middle_image_strength),
        "last_image": (frames - 1, params.last_image_strength),
    }
    found = []
    for port, (frame, strength) in places.items():
        picture = pictures.get(port)
        if picture is None:
            continue
        if port != "image" and frames == 1:
            raise InvalidInput("frames", f"1 leaves no frame for {port} beside the first")
        found.append(Keyframe(picture, frame, strength))
    return tuple(found)
