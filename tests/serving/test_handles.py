"""What a replica raised, and what Ray raised in its stead."""

from __future__ import annotations

import pytest
from ray.exceptions import ObjectLostError, RayError, RayTaskError

from serve_app.core.errors import GreenlightError, InputLost, Rejected, StageFailed
from serve_app.serving.handles import _unwrapped


class Unpicklable(ValueError):
    """Cannot cross processes."""

    def __reduce__(self) -> str:
        raise TypeError("it has a lock")


def raised(cause: Exception) -> GreenlightError:
    """Return what a runner makes of an error that came out of a replica's call."""
    return _unwrapped(RayTaskError("call", "Traceback ...", cause), "upscale.edsr")


def test_an_error_of_ours_comes_out_as_it_went_in() -> None:
    error = Rejected("fidelity", 96, 31.5, "beyond 30")
    assert raised(error) is error


def test_an_argument_that_ray_lost_is_a_lost_input_and_not_a_lost_replica() -> None:
    error = raised(ObjectLostError("ab" * 28, None, "draft"))
    assert isinstance(error, InputLost)
    assert "upscale.edsr is unavailable: ObjectLostError" in str(error)


def test_a_foreign_error_is_the_stages_failure() -> None:
    error = raised(KeyError("clip"))
    assert isinstance(error, StageFailed)
    assert (error.stage, error.kind) == ("upscale.edsr", "KeyError")


@pytest.mark.filterwarnings("ignore")
def test_an_error_that_could_not_be_pickled_is_the_stages_failure_and_no_lost_input() -> None:
    wrapped = RayTaskError("call", "Traceback ...", Unpicklable("x"))
    assert type(wrapped.cause) is RayError
    assert isinstance(_unwrapped(wrapped, "upscale.edsr"), StageFailed)
