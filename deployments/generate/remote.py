"""Clips from another server: any that speaks `/v1/videos`, a hosted model among them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.remote.fields import VIDEO, Dialect, seconds_for, told
from serve_app.core import digest
from serve_app.core.errors import BadRequest, InvalidInput, StageFailed
from serve_app.core.media import Clip, Image, centre_crop, exact_fps
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.remote.server import Ask

_NAME = "generate.remote"
_LARGEST_SEED = 2**63 - 1


class Remote:
    """Generate on a server that speaks OpenAI's `/v1/videos` (`generate.remote`): vLLM-Omni, SGLang, FastVideo, hosted.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1, which the server is told if ``weights.fields`` has a name for it;
    ``image``, of any size, sent as PNG. Returns what the server made: a larger picture is cropped around its centre, a
    longer clip cut at its end, and what is smaller, shorter or of another rate than asked for is an error. Progress is
    the server's own. A cancelled run is cancelled there. A request that may have been taken is never sent twice unless
    the server honours `Idempotency-Key`, and a replica that takes over goes on with the job that is under way. Notes
    ``remote``; each job that the server takes is charged, whatever becomes of it.
    """

    is_cpu_only = True

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps, where weights.fields names it; else refused",
        "guidance": "guidance_scale, likewise",
        "negative_prompt": "negative_prompt, likewise",
        "seed": "seed, likewise; else a warning: every attempt is a new draw",
        "width": "size, with height",
        "height": "size, with width",
        "frames": "num_frames, or seconds: the shortest clip that holds them, cut",
        "fps": "fps, where weights.fields names it; what comes must have it",
        "image": "input_reference, as a PNG of its own size",
        "strength": "none: unknown, so an error",
    }

    class Weights(Strict):
        """Which server, how it is spoken to, and what it costs."""

        url: str = Field(pattern=r"^https?://[^/\s@]+(/|$)", description="Up to and with its `/v1`.")
        model: str | None = Field(None, description="What the server calls the model; none leaves it to the server.")
        key_file: Path | None = Field(None, description="A file with the API key; never the key itself.")
        dialect: Dialect = Field("extended", description="`openai` is told size and seconds alone.")
        fields: dict[str, str] = Field({}, description="Our names: the server's, beside those of the dialect.")
        body: Literal["multipart", "json"] = Field("multipart", description="How a request is sent.")
        seconds_choices: tuple[int, ...] = Field((), description="Lengths in s that it makes, if not any.")
        honours_idempotency_key: bool = Field(False, description="Whether it may be asked again after silence.")
        stop: Literal["cancel", "delete", "none"] = Field(
            "cancel", description="How a job is stopped: POST `…/cancel` and else DELETE, DELETE alone, or not at all."
        )
        usd_per_clip: float | None = Field(
            None, ge=0, allow_inf_nan=False, description="What a job costs; 0 if nothing. None: the cost is unknown."
        )
        usd_per_clip_s: float = Field(0.0, ge=0, allow_inf_nan=False, description="And each second of its clip.")
        poll_s: float = Field(1.0, ge=0.05, le=60, description="Between two looks; the server may ask for more.")
        answer_s: float = Field(60.0, gt=0, le=600, description="Patience for one answer.")
        deadline_s: float = Field(1800.0, gt=0, description="Patience for a whole job.")
        retries: int = Field(4, ge=0, le=20, description="Requests sent again where that cannot cost twice.")
        file_bytes: int = Field(512 * 2**20, ge=1, description="Most bytes of the file that comes.")
        clip_bytes: int = Field(4 * 2**30, ge=1, description="Most bytes of decoded frames.")

    class Params(Strict):
        """Sizes in px. Of ``steps``, ``guidance``, ``negative_prompt``: what is left out is up to the server, what it
        cannot be told is refused. ``frames`` is how many are delivered.
        """

        width: int = Field(1280, ge=16, le=4096)
        height: int = Field(720, ge=16, le=4096)
        frames: int = Field(97, ge=1, le=4096)
        fps: float | str = Field(24, description="In Hz. What comes must have this rate.")
        steps: int | None = Field(None, ge=1, le=1000)
        guidance: float | None = Field(None, ge=0, le=100)
        negative_prompt: str | None = None

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput for an ``fps`` that is no rate."""
        exact_fps(params.fps)

    @staticmethod
    def unpriced(weights: Weights) -> str | None:
        """Return what a call is charged for, where ``usd_per_clip`` does not say how much."""
        return f"a clip from {weights.url}" if weights.usd_per_clip is None else None

    def load(self, weights: Weights, context: Context) -> None:
        """Read the key. Raise Misconfigured naming ``weights.key_file``. Nothing is sent."""
        from deployments.nets.remote.key import read_key

        self._weights, self._context = weights, context
        self._key = read_key(weights.key_file)
        self._names = {**VIDEO[weights.dialect], **weights.fields}

    def run(self, params: Params, *, prompt: str, seed: int, image: Image | None = None) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px at ``params.fps``.

        Raise InvalidInput for what the server is not told of or refuses, Unavailable when it took nothing (the step is
        tried again), StageFailed when a job failed or may have been taken already, and Cancelled.
        """
        if not 0 <= seed <= _LARGEST_SEED:
            raise InvalidInput("seed", f"{seed} is not 0 to {_LARGEST_SEED}")
        ask = self._ask(params, prompt, seed, image)
        data, view = asyncio.run(self._fetch(ask, params))
        return self._checked(data, params, str(view.get("model") or self._weights.model or "remote"))

    def _ask(self, params: Params, prompt: str, seed: int, image: Image | None) -> Ask:
        from deployments.nets.remote.journal import Journal
        from deployments.nets.remote.server import Ask

        given = {
            "size": f"{params.width}x{params.height}",
            "seconds": self._seconds(params),
            "frames": params.frames if "frames" in self._names else None,
            "fps": params.fps if "fps" in self._names else None,
            "steps": params.steps,
            "guidance": params.guidance,
            "negative_prompt": params.negative_prompt,
            "seed": seed if "seed" in self._names else None,
        }
        if "seed" not in self._names:
            self._context.warn("this server is not told the seed: the same seed gives another clip")
        model = {} if self._weights.model is None else {"model": self._weights.model}
        body = {**model, "prompt": prompt, **told(given, self._names)}
        files, facts = {}, dict(body)
        if image is not None:
            from deployments.nets.remote.picture import png_of

            data = png_of(image)
            files["input_reference"] = ("input.png", data, "image/png")
            facts["input_reference"] = digest.of_bytes(data)
        self._context.note("remote", {"url": self._weights.url, **facts, "prompt": prompt})
        key = Journal.key_of([self._weights.url, facts, seed])
        return Ask("/videos", body, key, files, is_form=self._weights.body == "multipart")

    def _seconds(self, params: Params) -> str:
        return seconds_for(params.frames, float(exact_fps(params.fps)), self._weights.seconds_choices)

    async def _fetch(self, ask: Ask, params: Params) -> tuple[bytes, dict[str, Any]]:
        from deployments.nets.remote.job import Job, Patience
        from deployments.nets.remote.journal import Journal
        from deployments.nets.remote.server import Address, Server

        weights = self._weights
        address = Address(
            _NAME, weights.url, self._key, weights.answer_s, weights.retries, weights.honours_idempotency_key
        )
        patience = Patience(weights.poll_s, weights.deadline_s, weights.stop)
        journal = Journal(self._context.scratch / "remote", forget_s=weights.deadline_s)
        async with Server(address) as server:
            job = Job(server, journal, patience, self._context, lambda: self._charge(params))
            return await job.carry_out(ask, _NAME, weights.file_bytes)

    def _charge(self, params: Params) -> None:
        each, each_s = self._weights.usd_per_clip, self._weights.usd_per_clip_s
        usd = None if each is None else each + each_s * float(self._seconds(params))
        self._context.charge(usd, f"a clip from {self._weights.url}")

    def _checked(self, data: bytes, params: Params, model: str) -> Clip:
        """Return the file's clip at exactly the size, length and rate that were asked for."""
        from deployments.nets.remote.sound import read_sound
        from serve_app.core.footage import Bounds, read_clip

        try:
            clip = read_clip(data, Bounds(clip_bytes=self._weights.clip_bytes))
        except BadRequest as error:  # not the caller's fault
            raise StageFailed(_NAME, type(error).__name__, error.reason) from error
        came, fps = clip.shape, exact_fps(params.fps)
        self._context.note("delivered", {"size": str(came), "fps": str(clip.fps)})
        if abs(clip.fps - fps) > Fraction(1, 100):
            raise StageFailed(_NAME, "WrongRate", f"{float(fps):g} fps were asked for and {float(clip.fps):g} came")
        if came.height < params.height or came.width < params.width or came.frames < params.frames:
            wanted = f"{params.width}x{params.height}x{params.frames}"
            raise StageFailed(_NAME, "TooSmall", f"{wanted} were asked for and {came} came")
        frames = centre_crop(clip.frames[: params.frames], params.height, params.width)
        return Clip(frames, fps, model, read_sound(data, float(params.frames / fps)))
