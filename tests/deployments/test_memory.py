"""Weights are counted where stages keep them, and once."""

from __future__ import annotations

import torch

from deployments.nets.memory import weights_bytes
from deployments.nets.wan_sampling import Guidance


class Shelf:
    """A stage in miniature."""

    def __init__(self, **kept: object) -> None:
        self.__dict__.update(kept)


Shelf.__module__ = "deployments.generate.shelf"


def test_parameters_and_buffers_are_counted_by_dtype() -> None:
    half = torch.nn.Linear(4, 8, bias=False).to(torch.bfloat16)
    norm = torch.nn.BatchNorm1d(2)  # 2 weights, 2 biases, 2 means, 2 variances in fp32; a counter in int64
    assert weights_bytes(Shelf(half=half, norm=norm)) == {"bfloat16": 64, "float32": 32, "int64": 8}


def test_what_is_shared_is_counted_once_and_found_in_lists_and_mappings() -> None:
    layer = torch.nn.Linear(4, 4, bias=False)
    inner = Shelf(pair=(layer, layer), named={"again": layer, "other": torch.nn.Linear(2, 2, bias=False)})
    assert weights_bytes(Shelf(inner=inner, direct=layer)) == {"float32": 64 + 16}


def test_foreign_objects_are_left_alone_and_a_stage_without_weights_has_none() -> None:
    class Foreign:
        layer = torch.nn.Linear(4, 4)

    assert weights_bytes(Shelf(foreign=Foreign(), number=3, guidance=Guidance)) == {}
