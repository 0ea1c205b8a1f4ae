"""Whatever is done to a file, it is taken whole or refused by its name: there is no third end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.nets.lora.card import read_card
from deployments.nets.lora.checks import verify
from serve_app.core.errors import BadAdapter
from tests.deployments.lora.bases import base_of
from tests.deployments.lora.files import Make, make

QUICK = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FRAGMENTS = (
    "transformer.", "diffusion_model.", "lora_unet_", "base_model.model.", "transformer_2.", "proj_out", "x_embedder",
    "single_transformer_blocks.0.attn.to_q", "single_blocks.0.linear1", "single_blocks_0_linear1", ".lora_A", ".lora_B",
    ".lora_down", ".lora_up", ".weight", ".default", ".alpha", ".diff", ".diff_b", ".dora_scale", ".bias", "_", ".",
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=6).map("".join) | st.text(max_size=20)
CONFIG_KEYS = st.sampled_from(
    ["lora_alpha", "transformer.lora_alpha", "alpha_pattern", "use_rslora", "transformer.use_dora", "rank_pattern"]
)
DTYPES = st.sampled_from(["F64", "F32", "F16", "BF16", "F8_E4M3", "I32", "BOOL", "C64"]) | VALUES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("fuzz")
    made = make(Make("flux", "kohya", only="single_transformer_blocks.0.", alpha=2.0))
    return made.save(directory / "whole.safetensors").read_bytes()


def outcome(data: bytes, directory: Path) -> str:
    """Return how a file ends; anything but a whole one and a refusal by name is the test's failure."""
    path = directory / "mangled.safetensors"
    path.write_bytes(data)
    try:
        read_card(path)
        verify(path, path.name, base_of("flux"))
    except BadAdapter as error:
        refusal = error
    else:
        return "taken"
    assert (refusal.file, refusal.status, refusal.field) == (path.name, 422, "adapter")
    assert refusal.reason
    assert len(str(refusal)) < 2000
    return "refused"


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header, data[8 + length :]


def joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_the_file_itself_is_taken(whole: bytes, tmp_path: Path) -> None:
    assert outcome(whole, tmp_path) == "taken"


@QUICK
@given(data=st.data())
def test_bytes_that_are_changed_cut_or_put_in(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    length = int.from_bytes(whole[:8], "little") + 8
    spoiled = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(length + 50, len(spoiled) - 1)))
        match data.draw(st.sampled_from(["change", "cut", "put"])):
            case "change":
                spoiled[at] = data.draw(st.integers(0, 255))
            case "cut":
                del spoiled[at : at + data.draw(st.integers(1, 40))]
            case _:
                spoiled[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        if not spoiled:
            break
    outcome(bytes(spoiled), tmp_path)


@QUICK
@given(data=st.data())
def test_entries_of_the_header_that_say_something_else(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    header, body = parts(whole)
    key = data.draw(st.sampled_from(sorted(header)))
    what = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "all", "gone"]))
    if what == "gone":
        del header[key]
    elif what == "all":
        header[key] = data.draw(VALUES)
    else:
        header[key][what] = data.draw(DTYPES if what == "dtype" else st.lists(st.integers(-2, 5000), max_size=4))
    outcome(joined(header, body), tmp_path)


@QUICK
@given(data=st.data())
def test_layers_that_are_called_something_else(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    header, body = parts(whole)
    for key in data.draw(st.lists(st.sampled_from(sorted(header)), min_size=1, max_size=4, unique=True)):
        entry = header.pop(key)
        header[data.draw(NAMES)] = entry
    outcome(joined(header, body), tmp_path)


@QUICK
@given(metadata=st.dictionaries(st.sampled_from(["lora_adapter_metadata", "trigger_words", "x"]), VALUES | st.text()))
def test_metadata_of_any_kind(whole: bytes, tmp_path: Path, metadata: dict[str, Any]) -> None:
    header, body = parts(whole)
    outcome(joined({**header, "__metadata__": metadata}, body), tmp_path)


@QUICK
@given(config=st.dictionaries(CONFIG_KEYS, VALUES))
def test_a_configuration_of_peft_that_says_anything(whole: bytes, tmp_path: Path, config: dict[str, Any]) -> None:
    header, body = parts(whole)
    header = {key: entry for key, entry in header.items() if not key.endswith(".alpha")}
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    packed, end = bytearray(), 0
    for entry in header.values():
        first, last = entry["data_offsets"]
        packed += body[first:last]
        entry["data_offsets"] = [end, end + last - first]
        end += last - first
    outcome(joined({**header, "__metadata__": metadata}, bytes(packed)), tmp_path)
