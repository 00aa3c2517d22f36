"""The floors of the house: a module imports from floors below or from its own package, never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import leukemia_lab

PACKAGE = Path(leukemia_lab.__file__).parent
FLOORS = {
    "atomic": 0,
    "errors": 0,
    "progress": 0,
    "wording": 0,
    "schema": 0,
    "hashing": 0,
    "sharing": 0,
    "targets": 1,
    "device": 1,
    "ops": 1,
    "features": 1,
    "nets": 1,
    "claims": 1,
    "data": 1,
    "evaluation": 1,
    "pages": 1,
    "auditing": 2,
    "data.datamodule": 2,
    "estimators": 3,
    "reporting": 4,
    "plots": 2,
    "checklists": 2,
    "results": 3,
    "runs": 2,
    "config": 3,
    "report": 4,
    "identity": 2,
    "indexing": 4,
    "cells": 4,
    "audit": 4,
    "split": 4,
    "experiment": 4,
    "explaining": 4,
    "initial_weights": 3,
    "extraction": 4,
    "dashboards": 4,
    "batch_pieces": 4,
    "shared_cells": 4,
    "net_runs": 4,
    "several_devices": 4,
    "device_worker": 4,
    "classical_runs": 4,
    "exporting": 4,
    "probing": 4,
    "export_features": 4,
    "downloading": 4,
    "download": 4,
    "preflight": 4,
    "sweeping": 4,
    "search": 4,
    "command": 4,
    "multirun": 4,
    "overrides": 4,
    "training": 4,
    "cross_validation": 4,
    "cross_evaluation": 4,
    "evaluating": 4,
    "choosing": 4,
    "sweep_evaluation": 4,
    "comparing": 4,
    "compare": 4,
    "check_claims": 4,
    "train": 4,
    "evaluate": 4,
    "studies": 4,
    "study": 4,
    "reproduce": 4,
    "cli": 4,
}


def modules() -> dict[str, Path]:
    names = {
        path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for path, name in names.items() if name != "__init__"}


def floor(module: str) -> int:
    return FLOORS[module] if module in FLOORS else FLOORS[module.split(".")[0]]


def imports(path: Path) -> Iterator[str]:
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            prefix = "leukemia_lab"
            if node.module == prefix:
                yield from (alias.name for alias in node.names if alias.name in known)
            elif node.module.startswith(prefix + "."):
                module = node.module.removeprefix(prefix + ".")
                inner = [
                    f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in known
                ]
                yield from inner if inner else [module]


def test_every_module_has_a_floor() -> None:
    found = modules()
    assert len(found) > 35
    for module in found:
        assert floor(module) in range(5), module


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down_or_stay_in_the_package(module: str) -> None:
    for imported in imports(modules()[module]):
        same_package = module.split(".")[0] == imported.split(".")[0]
        lower = floor(imported) < floor(module)
        both_on_top = floor(module) == floor(imported) == 4
        assert lower or both_on_top or (same_package and floor(imported) <= floor(module)), (
            f"{module} (floor {floor(module)}) imports {imported} (floor {floor(imported)})"
        )


def test_no_circle() -> None:
    graph = {module: set(imports(path)) for module, path in modules().items()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for imported in graph.get(module, ()):
                visit(imported, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())
