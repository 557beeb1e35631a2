"""Mutation check: each rule is broken in many small ways, and some test must notice each time.

``make mutants`` runs it; ``python tests/mutation/mutants.py app/domain/caps.py`` asks of one module only. A mutant is
one changed operator, number, condition or statement. It exists in memory only: a forked process imports the changed
module in place of the real one and runs the module's tests. What survives is printed, with its line; those that change
nothing that could be seen are listed in equivalent.json, with the reason.
"""

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parents[2]
UNIT, AGENTS = "tests/unit/domain", "tests/agents"

#: The modules that decide, each with its tests, quickest first.
MODULES: dict[str, tuple[str, ...]] = {
    "app/domain/caps.py": (f"{UNIT}/test_caps.py", f"{AGENTS}/test_router_caps.py"),
    "app/domain/digest.py": (f"{UNIT}/test_digest.py", f"{AGENTS}/test_router_digest.py"),
    "app/domain/fallback.py": (f"{UNIT}/test_fallback.py", f"{AGENTS}/test_router_fallback.py"),
    "app/domain/quiet_hours.py": (f"{UNIT}/test_quiet_hours.py", f"{UNIT}/test_last_look.py"),
    "app/domain/routing.py": (
        f"{AGENTS}/test_router_order.py",
        f"{AGENTS}/test_router_rules.py",
        f"{AGENTS}/test_router_intake.py",
        f"{AGENTS}/test_router_caps.py",
        f"{AGENTS}/test_router_digest.py",
        f"{AGENTS}/test_why.py",
    ),
    "app/domain/last_look.py": (f"{UNIT}/test_last_look.py",),
    "app/domain/attempts.py": (f"{UNIT}/test_attempts.py", f"{AGENTS}/test_sender_doubt.py"),
    "app/domain/preferences/rules.py": (f"{UNIT}/test_preferences.py", f"{AGENTS}/test_router_rules.py"),
}

#: Only pytest itself: no plugins, settings or fixtures that these tests don't need.
_PYTEST = ("-c", os.devnull, "--rootdir", ".", "--noconftest", "-p", "no:cacheprovider", "--import-mode", "importlib")

#: A run of tests that takes so many times the CPU of the same run without a mutant hangs, and the mutant is noticed.
_PATIENCE = 3

_SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_CHANGEABLE = (
    *(ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Call, ast.Constant),
    *(ast.If, ast.While, ast.Return, ast.Expr, ast.AugAssign),
)
_OTHER_CALL = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    line: int
    #: The line as it stands in the source.
    text: str
    change: str
    code: CodeType

    @property
    def name(self) -> str:
        return f"{self.line}: {self.change}"


# --- making them ---


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    source = path.read_text()
    lines = source.splitlines()
    count = len(list(_sites(ast.parse(source))))
    for number in range(count):
        for variant in range(2):
            tree = ast.parse(source)
            node = list(_sites(tree))[number]
            before = ast.unparse(node)
            if not _change(tree, node, variant):
                break
            after = ast.unparse(ast.fix_missing_locations(tree) and node)
            if before != after:
                yield Mutant(
                    node.lineno,
                    lines[node.lineno - 1].strip(),
                    f"{_short(before)} → {_short(after)}",
                    compile(tree, str(path), "exec"),
                )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) < 70 else f"{line[:66]} …"


def _sites(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """What can be changed: expressions that decide and statements, never annotations, decorators or docstrings."""
    hidden = {id(part) for skipped in _skipped(tree) for part in ast.walk(skipped)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, _CHANGEABLE):
            yield node


def _skipped(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from node.decorator_list
        if isinstance(node, ast.ClassDef):
            yield from node.keywords
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.annotation
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            yield node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node


def _change(tree: ast.Module, node: ast.expr | ast.stmt, variant: int) -> bool:
    """Changes the node in place in its ``variant``-th way; False: it has no such way."""
    match node:
        case ast.Compare(ops=[op]):
            others = _SWAPPED[type(op)]
            if variant < len(others):
                node.ops = [others[variant]()]  # type: ignore[list-item]
                return True
        case ast.Compare(ops=[_, _] as ops):
            if variant < 2:
                ops[variant] = _SWAPPED[type(ops[variant])][0]()  # type: ignore[call-overload]
                return True
        case ast.BoolOp() | ast.BinOp():
            if variant == 0 and type(node.op) in _SWAPPED:
                node.op = _SWAPPED[type(node.op)][0]()  # type: ignore[assignment]
                return True
        case ast.UnaryOp(op=ast.Not()):
            if variant == 0:
                node.operand = ast.UnaryOp(ast.Not(), node.operand)
                return True
        case ast.IfExp():
            if variant == 0:
                node.body, node.orelse = node.orelse, node.body
                return True
        case ast.Call(func=ast.Name(id=name)) if name in _OTHER_CALL:
            if variant == 0:
                node.func = ast.Name(_OTHER_CALL[name], ast.Load())
                return True
        case ast.Constant(value=bool(value)):
            if variant == 0:
                node.value = not value
                return True
        case ast.Constant(value=int(value)):
            if variant == 0:
                node.value = value + 1
                return True
        case ast.If() | ast.While():
            if variant == 0:
                node.test = ast.UnaryOp(ast.Not(), node.test)
                return True
        case ast.Return(value=ast.expr() as value):
            if variant == 0 and not (isinstance(value, ast.Constant) and value.value is None):
                node.value = ast.Constant(None)
                return True
        case ast.Expr(value=ast.Call()):
            if variant == 0:
                node.value = ast.Constant(None)
                return True
        case ast.AugAssign():
            if variant == 0:
                node.value = ast.Constant(0)
                return True
    return False


# --- running them ---


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in place of its module."""

    def __init__(self, path: str, code: CodeType) -> None:
        self._name = path.removesuffix(".py").replace("/", ".")
        self._code = code
        self._path = path

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(ROOT / self._path))

    def exec_module(self, module) -> None:  # type: ignore[no-untyped-def]
        exec(self._code, module.__dict__)


def survives(path: str, mutant: Mutant | None, test: str, cpu_s: int = 600) -> bool:
    """Whether the tests pass with the mutant (None: with the module as it is), in a process of its own that may take
    ``cpu_s`` seconds of CPU."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        os._exit(_tested(path, mutant, test))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _cpu_s(path: str, test: str) -> int:
    """What the tests may take: a few times what they take with the module as it is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    if not survives(path, None, test):
        raise SystemExit(f"{test} fails without any mutant")
    return _PATIENCE * (1 + int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before))


def _tested(path: str, mutant: Mutant | None, test: str) -> int:
    import hypothesis
    import pytest

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if mutant is not None:
        sys.meta_path.insert(0, _Instead(path, mutant.code))
    hypothesis.settings.register_profile(
        "mutants",
        database=None,
        derandomize=True,
        deadline=None,
        max_examples=25,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("mutants")
    return int(pytest.main(["-x", "-q", *_PYTEST, test]))


def _warm() -> None:
    """What every child needs and no mutant is part of, imported once."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in (
        "pytest",
        "hypothesis.strategies",
        "hypothesis.internal.conjecture.engine",
        "msgspec",
        "yaml",
        "jsonschema",
        "jinja2",
        "phonenumbers",
    ):
        importlib.import_module(name)


def check(path: str, known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The mutants of a module that survive and aren't known to change nothing."""
    tests = {test: _cpu_s(path, test) for test in MODULES[path]}
    mutants = list(mutants_of(ROOT / path))
    left: list[str] = []
    excused = 0
    for number, mutant in enumerate(mutants, 1):
        if mutant.change in known.get(f"{path} {mutant.text}", {}):
            excused += 1
            continue
        if all(survives(path, mutant, test, cpu_s) for test, cpu_s in tests.items()):
            left.append(f"{path}:{mutant.name}")
            print(f"  survived {left[-1]}", flush=True)
        if number % 25 == 0:
            print(f"  {path} {number}/{len(mutants)}", flush=True)
    print(f"{path}: {len(mutants)} mutants, {len(left)} survived, {excused} change nothing", flush=True)
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="paths, by default all that decide")
    arguments = parser.parse_args()
    os.nice(19)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _warm()
    known = json.loads(Path(__file__).with_name("equivalent.json").read_text())
    left = [name for path in arguments.modules for name in check(path, known)]
    sys.exit(f"{len(left)} mutants survived" if left else 0)


if __name__ == "__main__":
    main()
