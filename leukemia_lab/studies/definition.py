"""Find and read a study: by the name of one that is shipped, or by the path of a user's own YAML."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from omegaconf._utils import get_yaml_loader

from leukemia_lab.claims.claim import Claim, scale_faults
from leukemia_lab.config import faults_error, schema_faults
from leukemia_lab.errors import ClaimError, ConfigError
from leukemia_lab.schema.study import StudyNode
from leukemia_lab.wording import nearest

FILE = "study.yaml"
REPRODUCED = (  # the order of the page that `reproduce` writes
    "vgg13_paper",
    "vgg16_paper",
    "leakage_price",
    "negative_controls",
    "challenge",
    "log_ablation",
    "augmentation_ablation",
    "imbalance_ablation",
)


@dataclass(frozen=True)
class Study:
    """A study and its name: the folder of one that is shipped, the file's name of a user's own.

    The name is part of file names and of ids in pages: letters, digits, - and _ alone, a letter first.
    """

    name: str
    path: Path
    node: StudyNode


@cache
def experiments_dir() -> Path:
    """The folder of the shipped studies: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "experiments", package.parent / "experiments"):
        if (folder / REPRODUCED[0] / FILE).is_file():
            return folder
    raise ConfigError(f"no shipped study is in {package} nor beside it: install leukemia-lab again")


def shipped_studies() -> list[str]:
    """The names of the shipped studies."""
    return sorted(path.parent.name for path in experiments_dir().glob(f"*/{FILE}"))


def read_study(given: str) -> Study:
    """The study that `given` names.

    Raises:
        ConfigError: there is none, or the file cannot be used; all its faults at once.
    """
    own = Path(given).expanduser()
    if own.suffix in (".yaml", ".yml") or own.is_file():
        return _read(own.stem if own.name != FILE else own.resolve().parent.name, own)
    names = shipped_studies()
    if given not in names:
        raise ConfigError(
            f"study: {given!r} is no study; shipped are {', '.join(names)}; study=/path/my.yaml is one of your own."
            f"{nearest(given, names)}"
        )
    return _read(given, experiments_dir() / given / FILE)


def _read(name: str, path: Path) -> Study:
    values = _values(path)
    if not isinstance(values, dict):
        raise ConfigError(f"study={path} holds no keys; title, question, rows and arms make a study")
    try:
        values = json.loads(json.dumps(values))
    except (TypeError, ValueError) as error:  # an anchor can be a part of itself, a !!binary is no text
        raise ConfigError(
            f"study={path} cannot be used: {error}; write plain text and numbers, and no list that holds itself"
        ) from error
    faults = schema_faults(StudyNode, values, sign=": ")
    if not faults:
        node = StudyNode.model_validate(values)
        faults = [*node.kind_faults(), *_claim_faults(node)]
    if faults:
        raise faults_error([f"{path}: {fault}" for fault in faults])
    return Study(_as_name(name), path, node)


def _values(path: Path) -> object:
    """What the YAML at `path` holds; OmegaConf's reader refuses a key given twice, and reads dates as text."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=get_yaml_loader())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}: give its path, study=/path/my.yaml") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_not_read(path, error)) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"study={path} cannot be read: {error}") from error


def _not_read(path: Path, error: yaml.MarkedYAMLError) -> str:
    """Which line of the YAML cannot be read, and why."""
    problem, mark = str(error.problem), error.problem_mark
    place = f"{path}: " if mark is None else f"{path}, line {mark.line + 1}: "
    key = problem.removeprefix("found duplicate key ")
    if key != problem:
        return f"{place}{key} is given twice: keep one"
    if r"'\t'" in problem:
        return f"{place}a tab cannot stand here: write spaces in place of tabs"
    return f"study={path} cannot be read: {error}"


def _claim_faults(node: StudyNode) -> list[str]:
    """The claims that cannot be read, and those that are no percentages where the others are."""
    claims: list[Claim] = []
    faults: list[str] = []
    for place, row in enumerate(node.rows):
        try:
            claims.append(Claim.of(f"rows[{place}] {row.name!r}: claimed", row.claims))
        except ClaimError as error:
            faults += error.faults
    return [*faults, *scale_faults(claims, all_rows=not faults)]


def _as_name(given: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", given)
    return name if name[:1].isalpha() else f"study_{name}"
