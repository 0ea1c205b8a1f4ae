"""What stays loaded."""

from __future__ import annotations

import threading

import pytest

from deployments.nets.lora.cache import AdapterCache
from deployments.nets.lora.loaded import Loaded
from serve_app.core.errors import OutOfMemory


def _of(size_bytes: int) -> Loaded:
    return Loaded({}, {}, size_bytes)


def _use(cache: AdapterCache, key: str, size_bytes: int = 4) -> bool:
    with cache.borrow(key, lambda: size_bytes, lambda: _of(size_bytes)) as (_, is_at_hand):
        return is_at_hand


def test_the_least_lately_used_leaves_first() -> None:
    cache = AdapterCache(10, "cpu")
    assert not _use(cache, "a")
    assert not _use(cache, "b")
    assert _use(cache, "a")
    assert not _use(cache, "c")
    assert cache.keys == ("a", "c")
    assert cache.size_bytes == 8


def test_one_in_use_is_never_let_go() -> None:
    cache = AdapterCache(10, "cpu")
    with cache.borrow("a", lambda: 6, lambda: _of(6)) as (loaded, _):
        with pytest.raises(OutOfMemory, match="of which 6 are in use"):
            _use(cache, "b", 6)
        assert cache.keys == ("a",)
        with cache.borrow("a", lambda: 6, lambda: _of(6)) as (again, is_at_hand):
            assert is_at_hand
            assert again is loaded
    assert not _use(cache, "b", 6)
    assert cache.keys == ("b",)


def test_a_load_that_fails_leaves_nothing() -> None:
    cache = AdapterCache(10, "cpu")

    def fail() -> Loaded:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), cache.borrow("a", lambda: 4, fail):
        raise AssertionError("it was lent")
    assert cache.keys == ()
    assert not _use(cache, "a")


def test_one_that_turns_out_larger_than_estimated_leaves_once_it_is_idle() -> None:
    cache = AdapterCache(10, "cpu")
    with cache.borrow("a", lambda: 4, lambda: _of(20)):
        assert cache.size_bytes == 20
    assert cache.size_bytes == 0


def test_a_budget_of_nothing_keeps_nothing_and_refuses_everything() -> None:
    with pytest.raises(OutOfMemory):
        _use(AdapterCache(0, "cpu"), "a")


def test_threads_load_one_adapter_once() -> None:
    cache, loads = AdapterCache(10, "cpu"), list[int]()

    def load() -> Loaded:
        loads.append(1)
        return _of(4)

    def work() -> None:
        for _ in range(50):
            with cache.borrow("a", lambda: 4, load) as (loaded, _):
                assert loaded.size_bytes == 4

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


def test_one_is_dropped_unless_it_is_in_use() -> None:
    cache = AdapterCache(10, "cpu")
    with cache.borrow("a", lambda: 4, lambda: _of(4)):
        cache.drop("a")
        assert cache.keys == ("a",)
    cache.drop("a")
    cache.drop("never there")
    assert not cache.keys


def test_one_that_is_at_hand_is_not_measured_again() -> None:
    cache = AdapterCache(10, "cpu")

    def unread() -> int:
        raise AssertionError("its file was opened")

    assert not _use(cache, "a")
    with cache.borrow("a", unread, lambda: _of(4)) as (_, is_at_hand):
        assert is_at_hand
