"""What is read of which family's files, and how, as rows of tables: derived from the code that reads them."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.nets.lora.families import FAMILIES, Family
from deployments.nets.lora.keys import FOREIGN, layers_of
from deployments.nets.lora.naming import word_of

Rows = list[tuple[str, ...]]

_OURS = ("transformer.{layer}", "{layer}", "base_model.model.{layer}", "lora_transformer_{flat}")
_THEIRS = ("diffusion_model.{layer}", "lora_unet_{flat}")
_ENDINGS = (
    ".lora_A.weight",
    ".lora_B.weight",
    ".lora_A.default.weight",
    ".lora_B.default.weight",
    ".lora_down.weight",
    ".lora_up.weight",
    ".lora.down.weight",
    ".lora.up.weight",
    ".lora_linear_layer.down.weight",
    ".lora_linear_layer.up.weight",
    ".alpha",
    ".lora_B.bias",
    ".diff",
    ".diff_b",
)
_MEANINGS = {
    "down": "A, (rank, inputs)",
    "up": "B, (outputs, rank)",
    "alpha": "one number; the pair counts alpha / rank",
    "up_bias": "added to the bias, times alpha / rank",
    "diff": "a whole difference of the weight, added as it is",
    "diff_bias": "a whole difference of the bias, added as it is",
}


def layouts() -> tuple[tuple[str, ...], Rows]:
    """Return head and rows: how layers are named, and what becomes of the names in each family."""
    head = ("A layer is called", "Known as", *(family.title for family in FAMILIES.values()))
    rows = []
    for pattern in (*_OURS, *_THEIRS):
        is_theirs = pattern in _THEIRS
        shown = pattern.format(layer="<layer>", flat="<layer_with_underscores>")
        cells = (_reads(family, is_theirs, pattern.startswith("transformer.")) for family in FAMILIES.values())
        rows.append((f"`{shown}`", word_of(pattern), *cells))
    return head, rows


def conversions() -> tuple[tuple[str, ...], Rows]:
    """Return head and rows: layers that authors fuse, and into what they are cut; halves that are swapped."""
    rows: Rows = []
    for family in FAMILIES.values():
        for theirs, ours in _fused(family).items():
            names = ", ".join(f"`{name}`" for name in ours)
            rows.append((family.title, f"`{theirs}`", names, "B is cut by rows and A shared: exact, nothing averaged"))
        for name in family.swapped:
            rows.append((family.title, f"`{_theirs(family, name)}`", f"`{name}`", "the halves of B's rows are swapped"))
    return ("Family", "In the authors' code", "In diffusers", "How"), rows


def endings() -> tuple[tuple[str, ...], Rows]:
    """Return head and rows: what a tensor's name may end with, and what the tensor then is."""
    rows: Rows = []
    for ending in _ENDINGS:
        ((role, _),) = layers_of("", {f"layer{ending}": None})["layer"].roles.items()
        rows.append((f"`{ending}`", _MEANINGS[role]))
    return ("A tensor's name ends with", "The tensor is"), rows


def refusals() -> tuple[tuple[str, ...], Rows]:
    """Return head and rows: files of other methods, which are refused by the names of their tensors."""
    rows: Rows = [(method, f"`{pattern}`", "not plain LoRA; without these tensors it would be another adapter")
                  for method, pattern in FOREIGN.items()]  # fmt: skip
    return ("Method", "Told by", "Why it is refused"), rows


def _reads(family: Family, is_theirs: bool, names_part: bool) -> str:
    said = "as it is"
    if is_theirs and family.renamed:
        fused = len(_fused(family))
        said = f"{len(family.renamed)} rules for names" + (f", {fused} fused layers cut" if fused else "")
    elif is_theirs:
        said = "as it is: the authors use the same names"
    if family.experts and not names_part:
        said += "; both experts, or the one that the file's name says"
    elif family.experts:
        said += "; `transformer_2.` is the low-noise expert"
    return said


def _fused(family: Family) -> Mapping[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for ours, theirs in family.renamed:
        groups.setdefault(theirs, []).append(ours)
    return {theirs: ours for theirs, ours in groups.items() if len(ours) > 1}


def _theirs(family: Family, name: str) -> str:
    return next(theirs for ours, theirs in family.renamed if ours == name)
