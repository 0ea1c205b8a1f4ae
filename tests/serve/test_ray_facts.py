"""The facts about Ray Serve that this house is built on. Ray is pinned per minor: an upgrade is a run of this file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from ray.exceptions import RayTaskError

from serve_app.core.errors import Rejected

CLIP_BYTES = 8 << 20


class Maker:
    """Yields a header and then a raw array, as `serving.replica` does."""

    async def stream(self) -> AsyncIterator[Any]:
        yield {"kind": "header"}
        yield np.full(CLIP_BYTES, 7, np.uint8)

    async def refuse(self) -> AsyncIterator[Any]:
        yield {"kind": "header"}
        raise Rejected("dark", 3, 0.5, "too dark")

    async def wait(self, seconds: float) -> AsyncIterator[Any]:
        self.was_cancelled = False
        try:
            yield {"kind": "header"}
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def cancelled(self) -> bool:
        return self.was_cancelled


class Taker:
    """Says what arrived."""

    async def look(self, frames: np.ndarray[Any, Any]) -> dict[str, Any]:
        flags = frames.flags
        return {"sum": int(frames[:10].sum()), "is_own": bool(flags.owndata), "is_writeable": bool(flags.writeable)}


class Driver:
    """Passes a reference on without opening it, from inside a replica, where handles are asynchronous."""

    def __init__(self, maker: Any, taker: Any) -> None:
        self._maker = maker.options(stream=True, _by_reference=True)
        self._plain, self._taker = maker, taker.options(_by_reference=True)

    async def pass_on(self) -> dict[str, Any]:
        stream = await self._maker.stream.remote()._to_object_ref_gen()
        header = await (await anext(stream))
        seen: dict[str, Any] = await self._taker.look.remote(await anext(stream))
        return {**header, **seen}

    async def fail(self) -> dict[str, Any]:
        stream = await self._maker.refuse.remote()._to_object_ref_gen()
        await (await anext(stream))
        try:
            await (await anext(stream))
        except RayTaskError as error:
            cause = error.cause
            return {"type": type(cause).__name__, "args": cause.args, "text": str(cause)}
        return {}

    async def cancel(self) -> bool:
        response = self._maker.wait.remote(60.0)
        stream = await response._to_object_ref_gen()
        await (await anext(stream))
        response.cancel()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if await self._plain.cancelled.remote():
                return True
            await asyncio.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def driver(cluster: str) -> Iterator[Any]:
    """Deploy the three; names with dots, as stages have them."""
    from ray import serve

    small = {"num_cpus": 0.1}
    maker = serve.deployment(Maker).options(name="facts.maker", ray_actor_options=small).bind()
    taker = serve.deployment(Taker).options(name="facts.taker", ray_actor_options=small).bind()
    app = serve.deployment(Driver).options(name="driver", ray_actor_options=small).bind(maker, taker)
    yield serve.run(app, name="facts", route_prefix="/facts")
    serve.delete("facts")


def test_a_raw_payload_passes_by_reference_and_is_not_copied_to_be_read(driver: Any) -> None:
    seen = driver.pass_on.remote().result(timeout_s=30)
    assert seen == {"kind": "header", "sum": 70, "is_own": False, "is_writeable": False}


def test_a_typed_error_crosses_actors_with_its_fields(driver: Any) -> None:
    error = driver.fail.remote().result(timeout_s=30)
    assert error["type"] == "Rejected"
    assert error["args"] == ("dark", 3, 0.5, "too dark", False)


def test_cancelling_a_response_cancels_the_replicas_generator(driver: Any) -> None:
    assert driver.cancel.remote().result(timeout_s=30)


def test_the_builder_is_given_a_checked_configuration() -> None:
    """With postponed annotations in app.py, Serve would hand it a raw dict and every typo with it."""
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    from serve_app.app import build

    with pytest.raises(ValidationError, match="pipelinez"):
        call_user_app_builder_with_args_if_necessary(build, {"pipelinez": ["animatic-fidelity"]})


def test_serve_ignores_an_option_that_it_does_not_know() -> None:
    """This is why `greenlight check` exists; when it fails, Serve has learned to say so itself."""
    from ray.serve.schema import DeploymentSchema

    DeploymentSchema.model_validate({"name": "x", "autoscaling_config": {"min_replica": 1}, "typo_option": 1})
