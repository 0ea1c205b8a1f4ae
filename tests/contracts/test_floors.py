"""The house rules that no reader can check by eye: who may import whom, and what may stand nowhere or in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("serve_app", "deployments")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py" or package == "deployments"
)
FLOORS = (
    ("serve_app.app", "serve_app.__main__", "serve_app.commands"),
    ("serve_app.serving",),
    ("serve_app.http", "serve_app.config"),
    ("serve_app.graph", "serve_app.runs", "serve_app.artifacts", "deployments"),
    ("serve_app.core", "serve_app.environment", "serve_app.telemetry"),
)
"""From the roof down. A module imports its own floor and those below it."""
WORKSHOPS = ("deployments/nets/", "deployments/metrics/")
"""What stages are made of, imported by their functions only: what is heavy may stand at the top of these files."""
HEAVY = {"torch", "diffusers", "transformers", "peft", "cv2", "av", "safetensors"}
MAY_CATCH_EVERYTHING = {"serve_app/graph/host.py", "serve_app/runs/queue.py"}
"""Where a stage's unforeseen exception becomes StageFailed, and where a run's becomes its recorded end."""


def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported under ``node``, at any depth."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom) and found.module:
            yield from (f"{found.module}.{alias.name}" for alias in found.names)


def at_module_level(module_tree: ast.Module) -> Iterator[str]:
    """Yield what importing the module imports; `if TYPE_CHECKING` is for type checkers alone."""
    for statement in module_tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imports(statement)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def floor_of(name: str) -> int | None:
    return next((level for level, names in enumerate(FLOORS) if any(is_in(name, each) for each in names)), None)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file: str) -> None:
    here = floor_of(module(file))
    assert here is not None, f"{file} stands on no floor"
    above = [name for name in imports(tree(file)) if (floor := floor_of(name)) is not None and floor < here]
    assert not above


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("deployments/")])
def test_a_stage_sees_the_core_and_networks_and_no_other_stage(file: str) -> None:
    ours = [name for name in imports(tree(file)) if is_in(name, "serve_app") or is_in(name, "deployments")]
    allowed = ("serve_app.core", *(each.strip("/").replace("/", ".") for each in WORKSHOPS))
    assert not [name for name in ours if not any(is_in(name, package) for package in allowed)]


@pytest.mark.parametrize("file", FILES)
def test_a_library_is_known_where_it_belongs(file: str) -> None:
    homes = {
        "ray": ("serve_app/serving/", "serve_app/app.py"),
        "starlette": ("serve_app/http/", "serve_app/serving/ingress.py"),
        "fastapi": ("serve_app/http/", "serve_app/serving/ingress.py"),
        "sqlalchemy": ("serve_app/runs/",),
    }
    found = {name.partition(".")[0] for name in imports(tree(file))}
    assert not [library for library, home in homes.items() if library in found and not file.startswith(home)]


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(WORKSHOPS)])
def test_what_is_heavy_is_imported_by_the_function_that_needs_it(file: str) -> None:
    assert not HEAVY & {name.partition(".")[0] for name in at_module_level(tree(file))}


@pytest.mark.parametrize("file", FILES)
def test_the_environment_has_one_reader(file: str) -> None:
    reads = {"os.environ", "os.getenv", "os.environb"}
    found = {ast.unparse(node) for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)}
    assert file == "serve_app/environment.py" or not reads & (found | set(imports(tree(file))))


@pytest.mark.parametrize("file", FILES)
def test_no_function_takes_whatever_it_is_given(file: str) -> None:
    functions = [node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [function.name for function in functions if function.args.kwarg]


@pytest.mark.parametrize("file", [file for file in FILES if file not in MAY_CATCH_EVERYTHING])
def test_no_exception_is_caught_for_being_one(file: str) -> None:
    broad = {"Exception", "BaseException"}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else broad
            assert not broad & caught, f"{file}:{node.lineno}"


def test_the_builder_does_not_postpone_its_annotations() -> None:
    """Serve reads them to find the type of `args`; postponed, it would pass on an unchecked dict without a word."""
    assert "__future__.annotations" not in list(imports(tree("serve_app/app.py")))


@pytest.mark.parametrize("file", FILES)
def test_no_module_is_called_after_nothing(file: str) -> None:
    assert not {"utils", "helpers", "manager", "base", "common"} & set(module(file).split("."))


@pytest.mark.parametrize("file", FILES)
def test_a_file_stays_small(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 400
