"""The upscaling stage when memory really runs out: a child process under an address-space limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SIDE_PX = 640
CHILD = """
import json, pathlib, resource, sys
from fractions import Fraction
import numpy as np
from deployments.upscale.edsr import Edsr
from serve_app.core.errors import OutOfMemory
from serve_app.core.media import Clip
from tests.deployments.desk import DeskContext

spare_mib, side = int(sys.argv[2]), int(sys.argv[3])
desk, stage = DeskContext(pathlib.Path(sys.argv[1])), Edsr()
stage.load(Edsr.Weights(dtype="fp32"), desk)
frames = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
stage.run(Edsr.Params(), clip=Clip(frames[:, :64, :64], Fraction(24), "warm-up"))
if spare_mib:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare_mib * 2**20, resource.RLIM_INFINITY))
try:
    picture = stage.run(Edsr.Params(), clip=Clip(frames, Fraction(24), "noise")).frames
    np.save(desk.root / "picture.npy", picture)
    warnings = list(desk.warnings)
    desk.warnings.clear()
    stage.run(Edsr.Params(), clip=Clip(frames[:, :64, :64], Fraction(24), "the next run"))
    print(json.dumps({"warnings": warnings, "next": desk.warnings}))
except OutOfMemory as error:
    print(json.dumps({"error": str(error)}))
"""


def upscale(root: Path, spare_mib: int) -> dict[str, object]:
    """Run the stage on one frame of noise with ``spare_mib`` MiB left (0: no limit) and return what the child says."""
    command = [sys.executable, "-c", CHILD, str(root), str(spare_mib), str(SIDE_PX)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, object] = json.loads(ended.stdout)
    return said


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the address space from /proc")
def test_a_frame_that_does_not_fit_is_cut_into_tiles(tmp_path: Path) -> None:
    whole = upscale(tmp_path / "whole", spare_mib=0)
    tiled = upscale(tmp_path / "tiled", spare_mib=140)
    assert whole["warnings"] == []
    assert "a frame did not fit into memory: cut into tiles of" in str(tiled["warnings"])
    assert whole["next"] == []
    assert "an earlier frame did not fit into memory" in str(tiled["next"]), "what is still in effect is said again"
    pictures = [np.load(tmp_path / name / "picture.npy").astype(int) for name in ("whole", "tiled")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1  # convolutions of another width round differently
    assert np.mean(pictures[0] != pictures[1]) < 1e-4


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the address space from /proc")
def test_without_memory_for_a_tile_the_tile_is_named(tmp_path: Path) -> None:
    assert upscale(tmp_path, spare_mib=20) == {"error": "a tile of 128x128 px of an EDSR frame does not fit on cpu"}
