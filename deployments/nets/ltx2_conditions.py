"""Keyframes of LTX-2 through diffusers' LTX2ConditionPipeline, each at the very frame that it is meant for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
import torch
from diffusers import LTX2ConditionPipeline
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

from deployments.nets.framing import first_frame
from deployments.nets.ltx2_keyframes import Keyframe
from serve_app.core.media import VideoShape
from serve_app.core.resize import cover_resize

_FOLD = 8
"""Frames in a latent, after the first, which is a latent by itself."""


@dataclass(frozen=True)
class Framing:
    """The size asked for, the one that the clip is made at before it is cropped, and the one that a take makes."""

    asked: VideoShape
    native: VideoShape
    take: VideoShape

    def picture(self, keyframe: Keyframe) -> PIL.Image.Image:
        """Return a keyframe's picture at the size of the take: the centre of it is the frame that was asked for."""
        pixels = first_frame(keyframe.picture, self.asked, self.native)
        if self.take != self.native:
            pixels = cover_resize(pixels, self.take.height, self.take.width)
        return PIL.Image.fromarray(pixels)


class KeyframePipeline(LTX2ConditionPipeline):  # type: ignore[misc]
    """Conditions of diffusers, which takes the number of a latent for a picture's place: eight frames.

    It shows the picture at the first of those frames, so that a last frame comes seven frames early. The model is told
    in frames, and the authors' code counts in frames too.
    """

    def aim(self, keyframes: Sequence[Keyframe]) -> None:
        """Say at which frames the keyframes of the next call are, in their order."""
        self._aimed = [keyframe.frame for keyframe in keyframes if keyframe.frame]

    def _prepare_keyframe_coords(
        self,
        keyframe_latent_num_frames: int,
        keyframe_latent_height: int,
        keyframe_latent_width: int,
        pixel_frame_idx: int,
        num_pixel_frames: int,
        fps: float,
        device: torch.device,
    ) -> torch.Tensor:
        """Return `(1, 3, tokens, 2)`: where a keyframe's tokens lie in seconds and px, at the frame aimed at."""
        coordinates: torch.Tensor = super()._prepare_keyframe_coords(
            keyframe_latent_num_frames,
            keyframe_latent_height,
            keyframe_latent_width,
            self._aimed.pop(0),
            num_pixel_frames,
            fps,
            device,
        )
        return coordinates


def conditions_of(keyframes: Sequence[Keyframe], framing: Framing, crf: int) -> list[LTX2VideoCondition]:
    """Return `keyframes` as diffusers takes them: pictures at the take's size, recompressed at `crf`."""
    return [
        LTX2VideoCondition(
            frames=framing.picture(keyframe),
            index=(keyframe.frame + _FOLD - 1) // _FOLD,
            strength=keyframe.strength,
            crf=crf,
        )
        for keyframe in keyframes
    ]
