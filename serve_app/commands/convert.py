"""`greenlight convert IN OUT`: EDSR weights from anywhere, once, into safetensors that say what they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from serve_app.core.errors import InvalidInput, Misconfigured

CONVENTIONS = ("edsr-pytorch", "basicsr", "super-image", "opencv")


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "convert",
        help="turn EDSR weights of any kind into safetensors",
        description="Read EDSR weights of EDSR-PyTorch, super-image, BasicSR or OpenCV (.pb), hold them against a "
        "photograph, and write safetensors whose metadata has the network's shape and units.",
    )
    parser.add_argument("source", metavar="IN", type=Path, help="a .pt, .pth, .bin, .safetensors or .pb file")
    parser.add_argument("target", metavar="OUT", type=Path, help="the .safetensors file to write; it must not exist")
    parser.add_argument("--convention", choices=CONVENTIONS, help="the units, where the file does not say them")
    parser.add_argument("--residual-scale", type=float, metavar="X", help="what each block's residual is multiplied by")
    parser.add_argument("--dtype", choices=("fp32", "fp16"), default="fp32", help="of the file; fp16 is half as large")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert; return 0. Raise Misconfigured naming the file that is no EDSR, InvalidInput for OUT."""
    import torch

    from deployments.nets.edsr import save
    from deployments.nets.edsr_files import Wish, read

    target: Path = arguments.target
    if target.suffix != ".safetensors":
        raise InvalidInput("OUT", f"{target} does not end in .safetensors")
    if target.exists():
        raise InvalidInput("OUT", f"{target} exists")
    if not target.parent.is_dir():
        raise InvalidInput("OUT", f"there is no directory {target.parent}")
    try:
        found = read(arguments.source, Wish(arguments.convention, arguments.residual_scale))
    except (OSError, ValueError) as error:
        raise Misconfigured("IN", str(error)) from error
    dtype = torch.float16 if arguments.dtype == "fp16" else torch.float32
    try:
        save(found.network, target, {**found.facts, "source": arguments.source.name}, dtype)
    except (OSError, ValueError) as error:
        raise InvalidInput("OUT", str(error)) from error
    config = found.network.config
    sys.stdout.write(f"{target}: x{float(config.ratio):g}, {config.blocks} blocks of {config.features}\n")
    sys.stdout.writelines(f"  {name}: {value}\n" for name, value in found.facts.items())
    if found.doubt is not None:
        sys.stdout.write(f"  note: {found.doubt}\n  `--convention` settles it\n")
    return 0
