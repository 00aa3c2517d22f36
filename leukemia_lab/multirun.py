"""From the words of a multirun to its jobs: composed, checked, as plain values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from leukemia_lab.config import Composer, checked, faults_error
from leukemia_lab.errors import ConfigError
from leukemia_lab.overrides import single_overrides
from leukemia_lab.runs.record import made_folder
from leukemia_lab.search.space import SearchSpace

Settings = TypeVar("Settings", bound=BaseModel)
ABOUT_SWEEPS = ("launcher", "search", "sweep")  # nodes that say how a sweep runs, not what a run computes


@dataclass(frozen=True)
class Multirun(Generic[Settings]):
    """A multirun, checked: the words and settings of each job. `folder` is `hydra.sweep.dir` where given.

    A search has no jobs before it begins: `jobs` are then those of `space.samples()`, and `job_of` makes one of the
    words that the search proposes (ConfigError where it cannot); None where nothing is searched.
    """

    jobs: tuple[tuple[tuple[str, ...], Settings], ...]
    folder: Path | None
    space: SearchSpace | None
    job_of: Callable[[Sequence[str]], tuple[tuple[str, ...], Settings]] | None


def is_multirun(composer: Composer[Settings], overrides: Sequence[str], asked: bool) -> bool:
    """Whether a sweep is `asked` for, or the config is one by itself (`hydra.mode`)."""
    return asked or OmegaConf.select(_plan(composer, overrides), "hydra.mode") == RunMode.MULTIRUN


def single_run(composer: Composer[Settings], overrides: Sequence[str]) -> Settings:
    """The checked settings of one run; the folder that it is to have is made.

    Raises:
        ConfigError: all faults; several values of a key.
    """
    try:
        sweeps = [override for override in _parsed(overrides) if override.is_sweep_override()]
        if sweeps:
            names = ", ".join(str(override.input_line) for override in sweeps)
            raise ConfigError(f"{names}: several values make a sweep: add -m, or give one value")
    except (HydraException, ValueError) as error:
        raise _explained(composer, overrides, error) from error
    config = composed(composer, [list(overrides)], overrides)[0]
    check_configs(composer, [config])
    for node, alone in (("launcher", "local"), ("search", "none")):
        if (name := OmegaConf.select(config, f"{node}.name", default=alone)) != alone:
            raise ConfigError(f"{node}={name} is for sweeps: add -m, or leave it out")
    made_folder(Path(config.hydra.run.dir), "hydra.run.dir")  # before Hydra fails in its own words
    return checked(composer.settings, config)


def multirun(
    composer: Composer[Settings], overrides: Sequence[str], config_dir: str | None
) -> Multirun[Settings]:
    """The multirun that `overrides` ask for.

    Raises:
        ConfigError: all faults of all its jobs.
    """
    _refuse_hydras_own(overrides)
    plan = _plan(composer, overrides)
    words = [*_own_sweeps(plan, overrides), *overrides]
    _refuse_sweeps_of_sweeps(words)
    space = None
    if OmegaConf.select(plan, "search.name", default="none") != "none":
        space = SearchSpace.of(words)
    lists = list_jobs(composer, words) if space is None else space.samples()
    configs = composed(composer, lists, words)
    check_configs(composer, configs)
    folder = Path(configs[0].hydra.sweep.dir)
    made_folder(folder, "hydra.sweep.dir")

    def job_of(job: Sequence[str]) -> tuple[tuple[str, ...], Settings]:
        (config,) = composed(composer, [job], words)
        return run_words(job, config_dir), checked(composer.settings, config)

    return Multirun(
        jobs=tuple(
            (run_words(job, config_dir), checked(composer.settings, config))
            for job, config in zip(lists, configs, strict=True)
        ),
        folder=None if folder == Path() else folder,
        space=space,
        job_of=job_of,
    )


def run_words(words: Sequence[str], config_dir: str | None) -> tuple[str, ...]:
    """The words that say what a run computes: without Hydra's own and those of the sweep around it."""
    own_configs = () if config_dir is None else (f"--config-dir={config_dir}",)
    of_run = [
        word
        for word, override in zip(words, _parsed(words), strict=True)
        if not (override.is_hydra_override() or _node(override) in ABOUT_SWEEPS)
    ]
    return (*own_configs, *of_run)


def list_jobs(composer: Composer[Settings], words: Sequence[str]) -> list[list[str]]:
    """The words of each job: every combination of the swept values, each one where nothing is swept."""
    try:
        return [list(job) for job in BasicSweeper.split_arguments(_parsed(words), None)[0]]
    except (HydraException, ValueError) as error:
        raise _explained(composer, words, error) from error


def composed(
    composer: Composer[Settings], jobs: Sequence[Sequence[str]], words: Sequence[str]
) -> list[DictConfig]:
    """The config of each job; ConfigError with the faults of all `words` where one cannot be composed."""
    try:
        return [composer.compose(job) for job in jobs]
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _explained(composer, words, error) from error


def check_configs(composer: Composer[Settings], configs: Sequence[DictConfig]) -> None:
    """Raise ConfigError with the faults of all configs."""
    faults = [fault for config in configs for fault in composer.settings_faults(config)]
    if faults:
        raise faults_error(faults)


def _plan(composer: Composer[Settings], overrides: Sequence[str]) -> DictConfig:
    """The config of the words alone that say what kind of sweep this is, and which sweeps it brings along."""
    try:
        parsed = _parsed(overrides)
        words = [
            word
            for word, override in zip(overrides, parsed, strict=True)
            if _node(override) in (*ABOUT_SWEEPS, "experiment") and not override.is_sweep_override()
        ]
        return composer.compose(words)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _explained(composer, overrides, error) from error


def _own_sweeps(plan: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The sweeps of `hydra.sweeper.params`, where the command line says nothing else of their keys."""
    given = {override.key_or_group for override in _parsed(overrides)}
    params = OmegaConf.select(plan, "hydra.sweeper.params")
    return [
        f"{key}={_listed(values)}"
        for key, values in ({} if params is None else params).items()
        if key not in given
    ]


def _listed(values: Any) -> str:
    """Swept values as an override has them: `a,b` as it stands, or a YAML list of them."""
    if not OmegaConf.is_list(values):
        return str(values)
    plain = {None: "null", True: "true", False: "false"}
    return ",".join(
        plain[value] if value is None or isinstance(value, bool) else str(value) for value in values
    )


def _refuse_hydras_own(overrides: Sequence[str]) -> None:
    """Raise ConfigError for those of Hydra's own overrides that would have nothing to do here."""
    instead = {
        "launcher": "choose launcher=local|joblib|slurm|ray",
        "sweeper": "choose search=tpe|cmaes|random|grid|nsga2, and write what is swept as key=a,b",
        "sweep/subdir": "leave it out, run folders are named by what they are; hydra.sweep.dir is their place",
    }
    for override in _parsed(overrides):
        _, _, chosen = override.key_or_group.replace(".", "/").partition("hydra/")
        for name, advice in instead.items():
            if f"{chosen}/".startswith(f"{name}/"):
                raise ConfigError(
                    f"{override.input_line}: sweeps are carried out by leukemia_lab itself, so that they resume: "
                    f"{advice}"
                )


def _refuse_sweeps_of_sweeps(words: Sequence[str]) -> None:
    """Raise ConfigError where a key has several values that says how the sweep runs, not what its runs compute."""
    for override in _parsed(words):
        if override.is_sweep_override() and (override.is_hydra_override() or _node(override) in ABOUT_SWEEPS):
            raise ConfigError(
                f"{override.input_line}: it says how the whole sweep runs: give one value, or a command for each"
            )


def word_faults(composer: Composer[Settings], words: Sequence[str], error: Exception) -> list[str]:
    """All faults of `words`, each taken singly, where composing them has ended in `error`."""
    singles = single_overrides(words)
    faults = composer.override_faults(singles)
    usable = [text for text in singles if not composer.override_faults([text])]
    # the faults of the single overrides say enough where what is left cannot be composed either
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        faults += composer.settings_faults(composer.compose(usable))
    return faults if faults else [str(error).strip()]


def _explained(composer: Composer[Settings], words: Sequence[str], error: Exception) -> ConfigError:
    return faults_error(word_faults(composer, words, error))


def _parsed(words: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))


def _node(override: Override) -> str:
    return override.key_or_group.partition("/")[0].partition(".")[0]
