"""The house: which room may know which, how long things may be, and what is not used."""

import ast
import graphlib
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "efftx").rglob("*.py"))
OURS = PACKAGE + sorted((ROOT / "tools").rglob("*.py"))
WRITTEN = OURS + [
    path
    for folder in ("source", "tests", "benchmarks", "examples", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

# Techniques know nothing of each other; models compose them; training drives models; plots know no
# model; checks may look at everything that they check.
TECHNIQUES = {"attention", "memory", "sparsity"}
MAY_KNOW = {
    "": set(),  # efftx/__init__.py: `import efftx` is free
    "compiling": set(),
    "dtypes": set(),
    "notebook": set(),
    "precision": set(),
    "validation": {"dtypes"},
    "shards": {"dtypes", "validation"},
    "results": {"validation"},
    "terms": {"validation"},
    **{technique: {"dtypes", "precision", "validation", "shards"} for technique in TECHNIQUES},
    "models": {"dtypes", "validation", "shards", *TECHNIQUES},
    "training": {"compiling", "dtypes", "validation", "shards", *TECHNIQUES, "models"},
    "command": {"validation", "memory", "models", "training"},
    "__main__": {"command"},
    "numbers": {*TECHNIQUES},
    "plots": {"validation", "numbers", *TECHNIQUES},
    "check": {"compiling", "validation", *TECHNIQUES, "models", "training"},
}
UNSTABLE = re.compile(r"jax\.(experimental|core|lib|interpreters|random\.PRNGKey)\b|jax\._src")
NO_OTHER_WAY = {  # to look into a compiler, which no page of the course and no technique does
    "tools/arithmetic.py": {"jax._src.interpreters.mlir", "jax._src.lib.mlir.dialects.hlo"},
    "benchmarks/harness/targets.py": {"jax.experimental.topologies"},
}
MAX_MODULE, MAX_FUNCTION, MAX_MEDIAN, MAX_POSITIONAL = 250, 60, 12, 6


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that an import statement may mean, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def wrong_doors(name: str, names: Iterator[str]) -> list[str]:
    """Imports of the module `name` that lead to a room it may not know."""
    rooms = {room(other) for other in names if other.startswith("efftx.")}
    return sorted(rooms - MAY_KNOW[room(name)] - {room(name)})


def longest_prefix(name: str, modules: set[str]) -> str:
    """The module that an imported name lives in: `a.b.f` is found in `a.b`."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef) -> int:
    """Lines of code, that is without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def positional(function: ast.FunctionDef) -> int:
    return len([a for a in function.args.posonlyargs + function.args.args if a.arg != "self"])


def unstable_uses(tree: ast.AST) -> list[str]:
    """Names under jax that change without notice, imported or reached through an attribute."""
    attributes = (ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute))
    return [name for name in [*imported(tree), *attributes] if UNSTABLE.match(name)]


def names_of(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", PACKAGE, ids=names_of(PACKAGE))
def test_no_import_runs_upward(path):
    assert not wrong_doors(module_name(path), imported(parse(path)))


def test_no_circle():
    modules = {module_name(path): path for path in PACKAGE}
    graph = {
        name: {longest_prefix(n, set(modules)) for n in imported(parse(path))} - {"", name}
        for name, path in modules.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError on a circle


@pytest.mark.parametrize("path", OURS, ids=names_of(OURS))
def test_modules_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE
    for function in functions(parse(path)):
        assert length(function) <= MAX_FUNCTION, function.name
        assert positional(function) <= MAX_POSITIONAL, function.name


def test_the_median_function_is_short():
    lengths = [length(function) for path in OURS for function in functions(parse(path))]
    assert statistics.median(lengths) <= MAX_MEDIAN


@pytest.mark.parametrize("path", WRITTEN, ids=names_of(WRITTEN))
def test_only_stable_jax(path):
    allowed = NO_OTHER_WAY.get(f"{path.relative_to(ROOT)}", set())
    assert set(unstable_uses(parse(path))) <= allowed


# The checks above can fail:


@pytest.mark.parametrize(
    ("name", "line", "doors"),
    [
        ("efftx.attention.lsh", "from efftx.memory import chunking", ["memory"]),
        ("efftx.sparsity.qkv", "import efftx.models.transformer", ["models"]),
        ("efftx.plots.figures", "from efftx.models import reformer", ["models"]),
        ("efftx.models.reformer", "from efftx import training", ["training"]),
        ("efftx.models.reformer", "from efftx.attention import lsh_attention", []),
    ],
)
def test_wrong_doors_are_found(name, line, doors):
    assert wrong_doors(name, imported(ast.parse(line))) == doors


@pytest.mark.parametrize(
    "line",
    [
        "import jax.experimental",
        "from jax import core",
        "from jax.experimental.pallas import x",
        "jax.lib.xla_bridge.get_backend()",
        "key = jax.random.PRNGKey(0)",
    ],
)
def test_unstable_jax_is_found(line):
    assert unstable_uses(ast.parse(line))


def test_lines_and_arguments_are_counted():
    source = 'def f(a, b, /, c, *, d):\n    """Says\n    what.\n    """\n    return a\n'
    (function,) = functions(ast.parse(source))
    assert (length(function), positional(function)) == (2, 3)


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())
