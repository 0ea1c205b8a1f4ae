"""`greenlight judge`: what a person would send back, in pictures and videos that exist already, and why."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.core.errors import InvalidInput
from serve_app.core.footage import Bounds
from serve_app.core.media import Image
from serve_app.core.picture import STILLS, read_picture

if TYPE_CHECKING:
    from rich.console import Console

    from serve_app.commands.judging.examiner import Examiner
    from serve_app.commands.judging.judgement import Judgement
    from serve_app.config import StageConfig

_GIB = 1 << 30
_EXITS = """\
exit codes: 0 everything passed or was warned of; 3 something failed or was rejected; 1 something could not be judged;
2 wrong usage. What cannot be judged is named in the report, and the rest is judged nevertheless."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "judge",
        help="judge pictures and videos that exist already",
        description=__doc__,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, and folders of files")
    parser.add_argument("-r", "--recursive", action="store_true", help="look into folders within folders")
    parser.add_argument("--reference", type=Path, metavar="IMAGE", help="the picture that the videos were made from")
    parser.add_argument("--face-box", metavar="X,Y,W,H", help="the face, in shares 0..1 of the frame")
    parser.add_argument(
        "--null-clips", type=int, metavar="N", help="legitimate clips to learn a picture by (default: 8; 0: none)"
    )
    parser.add_argument(
        "--memory-gib", type=float, default=2.0, metavar="GIB", help="what one decoded video may take (default: 2)"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="the Serve config file whose judges' weights to use"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/judge"), help="where the report's folder is made")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge everything, write the report, print a table or JSON; return the exit code."""
    from rich.console import Console

    from serve_app.commands.judging.examiner import Examiner, Wishes
    from serve_app.commands.judging.files import find, shown
    from serve_app.commands.judging.report import Report, exit_code
    from serve_app.commands.run import check_out, new_folder

    check_out(arguments.out)
    found = find(arguments.paths, arguments.recursive)
    bounds = _bounds(arguments.memory_gib)
    reference = None if arguments.reference is None else _reference(arguments.reference, bounds)
    stages = {} if arguments.profile is None else _stages(arguments.profile)
    wishes = Wishes(reference, arguments.face_box, arguments.null_clips, bounds, stages)
    console = Console(stderr=arguments.json, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        judgements = judged(Examiner(Path(scratch), wishes), found.paths, console)
    asked = {
        "reference": None if arguments.reference is None else shown(arguments.reference),
        "face_box": arguments.face_box,
        "passed_over": [shown(path) for path in found.others],
    }
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    many = "1 file" if len(judgements) == 1 else f"{len(judgements)} files"
    report, folder = Report(f"{many} judged", when, judgements, asked), new_folder(arguments.out)
    report.write(folder)
    if arguments.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n")
    else:
        tabulate(judgements, console)
        _say_passed_over(len(found.others), console)
    for name in ("report.json", "index.html"):
        console.print(str(folder / name), highlight=False, markup=False)
    return exit_code(judgements)


def _bounds(memory_gib: float) -> Bounds:
    if not 0.001 <= memory_gib <= 1024:
        raise InvalidInput("--memory-gib", f"{memory_gib:g} is not from 0.001 to 1024")
    return Bounds(clip_bytes=int(memory_gib * _GIB))


def _stages(profile: Path) -> dict[str, StageConfig]:
    """Return what a profile says of the judges; raise InvalidInput when that is nothing, so it would have no effect."""
    from serve_app.commands.judging.examiner import STAGES
    from serve_app.commands.profile import application_in

    found = {name: stage for name, stage in application_in(profile).config.stages.items() if name in STAGES}
    if not found:
        raise InvalidInput("--profile", f"{profile} has no weights for {' or '.join(STAGES)}")
    return found


def _reference(path: Path, bounds: Bounds) -> Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput("--reference", f"{path} cannot be read: {error.strerror}") from error
    return read_picture(data, max_px=bounds.frame_px, field="--reference", kinds=STILLS)


def judged(examiner: Examiner, paths: Sequence[Path], console: Console) -> list[Judgement]:
    """Judge every path in turn, with a progress bar on a terminal."""
    return [examiner.judge(path, tell) for path, tell in _with_bar(paths, console)]


def _with_bar(paths: Sequence[Path], console: Console) -> Iterator[tuple[Path, Callable[[int, int], None]]]:
    """Yield every path with whom to tell of its progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from serve_app.commands.judging.files import shown

    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task("", total=len(paths))
        for place, path in enumerate(paths):
            name = shown(path)
            bars.update(task, description=name if len(name) < 60 else f"...{name[-57:]}", completed=place)

            def tell(done: int, of: int, place: int = place) -> None:
                bars.update(task, completed=place + done / max(1, of))

            yield path, tell


def tabulate(judgements: Sequence[Judgement], console: Console) -> None:
    """Print one line per file: the verdict, the points, and the reason with its detector."""
    from rich.text import Text

    styles = {"pass": "green", "warn": "yellow", "fail": "red", "reject": "bold red", "error": "magenta"}
    wide = min(48, max(len(each.name) for each in judgements))
    for each in judgements:
        worst = None if each.score is None else each.score.worst
        head = f"{worst.detector}: " if worst is not None and worst.verdict else ""
        points = "" if each.score is None else f"{each.score.points:.0f}"
        tail = f"{points:>4}  {each.name:<{wide}}  {head}{each.reason}".rstrip()
        console.print(Text.assemble((f"{each.word:<6}", styles[each.word]), tail), highlight=False)


def _say_passed_over(count: int, console: Console) -> None:
    if count:
        what = "1 other file was" if count == 1 else f"{count} other files were"
        console.print(f"{what} no picture and no video, and passed over")
