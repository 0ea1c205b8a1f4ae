"""Every error crosses processes whole, and says what it is, what it means over HTTP, and what to do."""

import pickle
import re

import pytest

from serve_app.core import errors
from serve_app.core.errors import GreenlightError

ARGUMENTS = {
    "GreenlightError": ("something",),
    "BadRequest": ("inputs.steps", "is a whole number"),
    "InvalidInput": ("inputs.steps", "is a whole number"),
    "BadAdapter": ("anime-v2.safetensors", "blocks.0.attn1.to_q", "lora_A is missing"),
    "InvalidPicture": ("inputs.image", "is truncated"),
    "InvalidClip": ("inputs.clip", "is truncated"),
    "TooLarge": ("body", "is larger than 25 MiB"),
    "Unknown": ("run", "run-2", ("run-1", "run-3")),
    "Conflict": ("the run has ended",),
    "Busy": (100, 100, 5),
    "Misconfigured": ("stages.x.weights", "Field required"),
    "NotFetched": ("https://host/a.safetensors", "HTTP 404: it is not there"),
    "StageError": ("something",),
    "Rejected": ("fidelity", 96, 31.5, "beyond 30", True),
    "OutOfMemory": ("a tile of 128x128 px", "cuda"),
    "StageFailed": ("upscale.edsr", "ValueError", "not a clip"),
    "Interrupted": ("something",),
    "Cancelled": (),
    "Unavailable": ("upscale.edsr", "the replica died"),
    "InputLost": ("upscale.edsr", "the clip's node died"),
    "DeadlineExceeded": ("budget_s", 1800.0),
}
TREE = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, GreenlightError)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_it_survives_pickle_with_its_fields_and_its_text(kind: type[GreenlightError]) -> None:
    error = kind(*ARGUMENTS[kind.__name__])
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)
    assert twin.field == error.field


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_it_has_a_code_and_an_http_status(kind: type[GreenlightError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert 400 <= kind.status <= 599


@pytest.mark.parametrize("kind", [k for k in TREE if not k.__subclasses__()], ids=lambda kind: kind.__name__)
def test_it_says_what_to_do(kind: type[GreenlightError]) -> None:
    assert kind.hint.endswith(".")


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_it_is_drawn_in_the_tree_under_its_parent(kind: type[GreenlightError]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    line = next(line for line in drawing if re.search(rf"\b{kind.__name__}\b  ", line))
    if kind is not GreenlightError:
        depth = {name: _depth(row) for row in drawing if (name := _name(row))}
        parent = kind.__mro__[1].__name__
        assert depth[kind.__name__] == depth[parent] + 1, line


def test_leaves_have_codes_of_their_own() -> None:
    codes = [kind.code for kind in TREE if not kind.__subclasses__()]
    assert len(codes) == len(set(codes))


def _name(row: str) -> str:
    found = re.match(r"[│├└─ ]*([A-Z]\w+)  ", row)
    return found.group(1) if found else ""


def _depth(row: str) -> int:
    return (len(row) - len(row.lstrip("│├└─ "))) // 4
