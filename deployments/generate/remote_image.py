"""Pictures from another server: any that speaks `/v1/images/generations`."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.remote.fields import PICTURE, Dialect, told
from serve_app.core.errors import BadRequest, Cancelled, InvalidInput, StageFailed
from serve_app.core.media import Image, centre_crop
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.remote.journal import Journal
    from deployments.nets.remote.server import Ask, Server

_NAME = "generate.remote_image"
_LARGEST_SEED = 2**63 - 1


class RemoteImage:
    """Generate on a server that speaks OpenAI's `/v1/images/generations` (`generate.remote_image`).

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1, which the server is told if ``weights.fields`` has a name for it.
    Returns uint8 RGB ``(H, W, 3)``: a larger picture is cropped around its centre, a smaller one is an error. One
    request makes one picture; it may have been taken when a run is cancelled or the connection breaks, so it is then
    charged, and never sent twice unless the server honours `Idempotency-Key`. Notes ``remote``.
    """

    is_cpu_only = True

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps, where weights.fields names it; else refused",
        "guidance": "guidance_scale, likewise",
        "negative_prompt": "negative_prompt, likewise",
        "seed": "seed, likewise; else a warning: every attempt is a new draw",
        "width": "size, with height",
        "height": "size, with width",
        "image": "none: there is no such port",
        "strength": "none: unknown, so an error",
    }

    class Weights(Strict):
        """Which server, how it is spoken to, and what it costs."""

        url: str = Field(pattern=r"^https?://[^/\s@]+(/|$)", description="Up to and with its `/v1`.")
        model: str | None = Field(None, description="What the server calls the model; none leaves it to the server.")
        key_file: Path | None = Field(None, description="A file with the API key; never the key itself.")
        dialect: Dialect = Field("extended", description="`openai` is told the size alone.")
        fields: dict[str, str] = Field({}, description="Our names: the server's, beside those of the dialect.")
        response_format: Literal["b64_json", "none"] = Field(
            "b64_json", description="`none`: it is not told, for servers that refuse the field."
        )
        honours_idempotency_key: bool = Field(False, description="Whether it may be asked again after silence.")
        usd_per_picture: float | None = Field(
            None, ge=0, allow_inf_nan=False, description="What one costs; 0 if nothing. None: the cost is unknown."
        )
        answer_s: float = Field(300.0, gt=0, le=3600, description="Patience for the picture.")
        retries: int = Field(4, ge=0, le=20, description="Requests sent again where that cannot cost twice.")
        file_bytes: int = Field(128 * 2**20, ge=1, description="Most bytes of the file that comes.")
        picture_px: int = Field(40_000_000, ge=1, description="Most px of a picture.")

    class Params(Strict):
        """Sizes in px. Of ``steps``, ``guidance``, ``negative_prompt``: what is left out is up to the server, what it
        cannot be told is refused.
        """

        width: int = Field(1024, ge=16, le=4096)
        height: int = Field(1024, ge=16, le=4096)
        steps: int | None = Field(None, ge=1, le=1000)
        guidance: float | None = Field(None, ge=0, le=100)
        negative_prompt: str | None = None

    @staticmethod
    def unpriced(weights: Weights) -> str | None:
        """Return what a call is charged for, where ``usd_per_picture`` does not say how much."""
        return f"a picture from {weights.url}" if weights.usd_per_picture is None else None

    def load(self, weights: Weights, context: Context) -> None:
        """Read the key. Raise Misconfigured naming ``weights.key_file``. Nothing is sent."""
        from deployments.nets.remote.key import read_key

        self._weights, self._context = weights, context
        self._key = read_key(weights.key_file)
        self._names = {**PICTURE[weights.dialect], **weights.fields}

    def run(self, params: Params, *, prompt: str, seed: int) -> Image:
        """Return a picture of ``params.width`` x ``params.height`` px.

        Raise InvalidInput for what the server is not told of or refuses, Unavailable when it took nothing (the step is
        tried again), StageFailed when it may have been taken already or what came is no such picture, and Cancelled.
        """
        if not 0 <= seed <= _LARGEST_SEED:
            raise InvalidInput("seed", f"{seed} is not 0 to {_LARGEST_SEED}")
        ask = self._ask(params, prompt, seed)
        return self._checked(asyncio.run(self._fetch(ask)), params)

    def _ask(self, params: Params, prompt: str, seed: int) -> Ask:
        from deployments.nets.remote.journal import Journal
        from deployments.nets.remote.server import Ask

        is_seeded = "seed" in self._names
        if not is_seeded:
            self._context.warn("this server is not told the seed: the same seed gives another picture")
        given = {
            "size": f"{params.width}x{params.height}",
            "steps": params.steps,
            "guidance": params.guidance,
            "negative_prompt": params.negative_prompt,
            "seed": seed if is_seeded else None,
        }
        fixed: dict[str, Any] = {} if self._weights.model is None else {"model": self._weights.model}
        if self._weights.response_format != "none":
            fixed["response_format"] = self._weights.response_format
        body = {**fixed, "prompt": prompt, "n": 1, **told(given, self._names)}
        self._context.note("remote", {"url": self._weights.url, **body})
        return Ask("/images/generations", body, Journal.key_of([self._weights.url, body, seed]))

    async def _fetch(self, ask: Ask) -> bytes:
        from deployments.nets.remote.journal import Journal
        from deployments.nets.remote.server import Address, Server

        weights = self._weights
        address = Address(
            _NAME, weights.url, self._key, weights.answer_s, weights.retries, weights.honours_idempotency_key
        )
        journal = Journal(self._context.scratch / "remote", forget_s=weights.answer_s * (weights.retries + 1))
        async with Server(address) as server:
            return await self._carry_out(server, journal, ask)

    async def _carry_out(self, server: Server, journal: Journal, ask: Ask) -> bytes:
        """Return the picture's file. Its address is written down: a successor fetches it, and orders no other."""
        from deployments.nets.remote.order import watched

        self._context.progress(0, 1)
        with journal.held(ask.key, self._context.check):
            known = journal.read(ask.key)
            made = {"url": known.job} if known is not None and known.job else await self._order(server, journal, ask)
            if isinstance(made.get("url"), str):
                data = await watched(server.fetch(str(made["url"]), self._weights.file_bytes), self._context)
            else:
                data = _decoded(made.get("b64_json"))
            journal.forget(ask.key)
        self._context.progress(1, 1)
        return data

    async def _order(self, server: Server, journal: Journal, ask: Ask) -> dict[str, Any]:
        from deployments.nets.remote.order import order

        try:
            entry, answer = await order(server, journal, ask, self._context, _NAME)
        except Cancelled:
            self._context.charge(self._weights.usd_per_picture, "a picture that nobody waited for")
            raise
        self._context.charge(self._weights.usd_per_picture, f"a picture from {self._weights.url}")
        pictures = answer.get("data")
        made = pictures[0] if isinstance(pictures, list) and pictures else None
        if not isinstance(made, dict):
            journal.forget(ask.key)
            raise StageFailed(_NAME, "BadAnswer", "it holds no picture")
        if isinstance(made.get("url"), str):
            journal.took(ask.key, entry, made["url"])
        return made

    def _checked(self, data: bytes, params: Params) -> Image:
        from serve_app.core.picture import read_picture

        try:
            picture = read_picture(data, max_px=self._weights.picture_px)
        except BadRequest as error:  # not the caller's fault
            raise StageFailed(_NAME, type(error).__name__, error.reason) from error
        came = f"{picture.width}x{picture.height}"
        self._context.note("delivered", {"size": came})
        if picture.width < params.width or picture.height < params.height:
            raise StageFailed(_NAME, "TooSmall", f"{params.width}x{params.height} was asked for and {came} came")
        return Image(centre_crop(picture.pixels, params.height, params.width), self._weights.model or "remote")


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise StageFailed(_NAME, "BadAnswer", "its picture is not base64") from error
