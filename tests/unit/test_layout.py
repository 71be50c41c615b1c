"""The shape of the code: imports run one way, `core/` is pure, money knows no float, tasks have one home, files stay small."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROXY = ROOT / "proxy"
FILES = sorted(path for path in PROXY.rglob("*.py") if "__pycache__" not in path.parts)

# A package may import what stands in a lower layer, and its neighbours where named below.
LAYERS = [
    {"core"},
    {"prices"},
    {"sql"},
    {"ledger", "accounts", "records", "providers"},
    {"pipeline", "admin", "surfaces"},
    {"app", "memory", "descriptors", "cli", "roles", "__main__"},
]
CROSS_CUTTING = {
    "config",
    "provider_config",
    "webhook_config",
    "metrics",
    "logs",
    "tasks",
}  # importable by all but core; they import core only
PROCESSES = {"embedded", "lifeline", "supervisor"}  # the parent's side: core only, and used by the top layer only
NEIGHBOURS = {
    ("accounts", "ledger"),
    ("records", "ledger"),
    ("surfaces", "pipeline"),  # they answer the data listener's requests
    ("admin", "pipeline"),  # the operators' overview shows the health that the data listener answers with
    ("cli", "roles"),
    ("cli", "app"),
    ("app", "memory"),
    ("app", "descriptors"),
    ("roles", "app"),
    ("__main__", "cli"),
    ("__main__", "roles"),
    ("supervisor", "embedded"),
    ("supervisor", "lifeline"),
    ("embedded", "lifeline"),
    ("config", "provider_config"),
    ("config", "webhook_config"),
    ("config", "prices"),
}
IMPURE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "http", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "select",
    "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "urllib",
}  # fmt: skip
PURE_ENOUGH = {("ids.py", "os")}  # os.urandom: an id is the one thing in core that is not a function of its inputs
LONGEST_FILE = 400  # 300 as a rule; what is longer must hold one idea
LONGEST_FUNCTION = 60  # 40 as a rule


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def part_of(path: Path) -> str:
    return path.relative_to(PROXY).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            yield from (f"proxy.{alias.name}" for alias in node.names) if module == "proxy" else [module]


def layer_of(part: str) -> int:
    for rank, parts in enumerate(LAYERS):
        if part in parts:
            return rank
    raise AssertionError(
        f"proxy/{part} has no place in the layout; give it one in tests/unit/test_layout.py and ARCHITECTURE.md"
    )


def may_import(importer: str, imported: str) -> bool:
    if imported in {importer, "__version__"} or (importer, imported) in NEIGHBOURS:
        return True
    if imported in CROSS_CUTTING:
        return importer != "core" and importer not in CROSS_CUTTING
    if importer in CROSS_CUTTING | PROCESSES:
        return imported == "core"
    if imported in PROCESSES:
        return layer_of(importer) == len(LAYERS) - 1
    return layer_of(importer) > layer_of(imported)


def test_imports_run_one_way() -> None:
    wrong = []
    for path in FILES:
        importer = part_of(path)
        if importer == "__init__":
            continue
        for module in imports_of(path):
            if module.startswith("proxy."):
                imported = module.split(".")[1]
                if not may_import(importer, imported):
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_core_is_pure() -> None:
    wrong = []
    for path in FILES:
        if part_of(path) != "core":
            continue
        for module in imports_of(path):
            top = module.split(".")[0]
            if (top != "proxy" and top not in sys.stdlib_module_names) or (
                top in IMPURE and (path.name, top) not in PURE_ENOUGH
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno} does I/O or awaits"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.AsyncFunctionDef | ast.Await)
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"open", "print", "input"}
            )
        ]
    assert not wrong, "\n".join(wrong)


def test_no_float_touches_money() -> None:
    wrong = []
    for name in ("money", "pricing", "holds", "limits", "records", "settlement", "usage"):
        path = PROXY / "core" / f"{name}.py"
        if not path.exists():
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree_of(path))
            if (isinstance(node, ast.Constant) and isinstance(node.value, float))
            or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
            or (isinstance(node, ast.Name) and node.id == "float")
        ]
    assert not wrong, f"a float or a true division: {', '.join(wrong)}"


def test_tasks_have_one_home() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        if path != PROXY / "tasks.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}
    ]
    assert not wrong, f"a task outside proxy/tasks.py: {', '.join(wrong)}"


def test_no_silent_except() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert not wrong, f"a broad except that says nothing: {', '.join(wrong)}"


def test_files_and_functions_stay_small() -> None:
    long_files = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long_functions = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    wrong = [
        f"{path.relative_to(ROOT)} has {lines} lines" for path, lines in long_files.items() if lines > LONGEST_FILE
    ]
    wrong += [f"{name} has {lines} lines" for name, lines in long_functions.items() if lines > LONGEST_FUNCTION]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("pipeline", "ledger", True),
        ("ledger", "pipeline", False),
        ("core", "config", False),
        ("sql", "accounts", False),
        ("config", "sql", False),
        ("providers", "ledger", False),
        ("pipeline", "embedded", False),
        ("cli", "embedded", True),
    ],
)
def test_the_rule_itself(importer: str, imported: str, *, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed
