"""How a network is run: recordings, batches and tiles, with the parts of a GPU played by the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deployments.nets.edsr import BUILTIN, load
from deployments.nets.edsr_engine import BATCHES, Engine, Replays, fastest_batch

PIXELS = torch.randint(0, 256, (3, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Tape:
    """A recorder like CUDA's graphs: what it gives again always lies in the same memory."""

    def __init__(self) -> None:
        self.recordings = 0

    def __call__(self, work: Callable[[Tensor], Tensor], given: Tensor) -> Callable[[], Tensor]:
        self.recordings += 1
        result = work(given).clone()

        def again() -> Tensor:
            result.copy_(work(given))
            return result

        return again


def test_a_recording_works_on_what_it_is_given_now() -> None:
    tape = Tape()
    replays = Replays(lambda x: x * 2, tape)
    first, second = replays(PIXELS[:1]), replays(PIXELS[1:2])
    assert torch.equal(first, PIXELS[:1] * 2), "and what it gave before stays as it is"
    assert torch.equal(second, PIXELS[1:2] * 2)
    assert tape.recordings == 1


def test_each_size_is_recorded_once_and_the_last_two_are_kept() -> None:
    tape = Tape()
    replays = Replays(lambda x: x + 1, tape)
    for count in (1, 2, 1, 2, 3, 2, 1):
        assert torch.equal(replays(PIXELS[:count]), PIXELS[:count] + 1)
    assert tape.recordings == 4
    replays.forget()
    replays(PIXELS[:1])
    assert tape.recordings == 5


def test_a_recorded_network_gives_the_same_bytes() -> None:
    engine = Engine(load(BUILTIN["small"]), "cpu", "eager")
    with torch.inference_mode():
        plain = engine.enlarge(PIXELS, 4, lambda: None, print)
        engine._replays = Replays(engine._forward, Tape())
        assert torch.equal(engine.enlarge(PIXELS, 4, lambda: None, print), plain)


def test_a_cpu_takes_one_frame_at_a_time() -> None:
    calls: list[None] = []
    engine = Engine(load(BUILTIN["small"]), "cpu", "eager")
    with torch.inference_mode():
        engine.enlarge(PIXELS, 64, lambda: calls.append(None), print)
    assert len(calls) == len(PIXELS)


@pytest.mark.parametrize(
    ("each_s", "most", "chosen"),
    [
        ({1: 1.0, 2: 0.9, 4: 0.5, 8: 0.6, 16: 0.7}, 16, 4),
        ({1: 1.0, 2: 0.99, 4: 0.985, 8: 0.99, 16: 1.0}, 16, 1),
        ({1: 1.0, 2: 0.9, 4: 0.5}, 3, 2),
        ({1: 1.0}, 1, 1),
    ],
)
def test_the_batch_is_the_fastest_that_is_worth_its_memory(each_s: dict[int, float], most: int, chosen: int) -> None:
    assert fastest_batch(lambda count: count * each_s[count], most) == chosen


def test_a_batch_that_does_not_fit_ends_the_search() -> None:
    def seconds_for(count: int) -> float:
        if count > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    assert fastest_batch(seconds_for, max(BATCHES)) == 4


def test_an_error_of_another_kind_is_not_taken_for_lack_of_memory() -> None:
    def seconds_for(count: int) -> float:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side"):
        fastest_batch(seconds_for, 4)
