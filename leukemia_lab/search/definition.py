"""What makes the trials of a study comparable: all that is fixed, what is searched, by which objectives and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from leukemia_lab.errors import ConfigError
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import job_settings
from leukemia_lab.runs.record import flat
from leukemia_lab.schema import TrainSettings
from leukemia_lab.schema.sweep import Search
from leukemia_lab.search.space import SearchSpace

COMPARED = ("name", "seed", "objectives", "sampler", "pruner")  # of `search`


def study_definition(search: Search, space: SearchSpace, samples: Sequence[TrainSettings]) -> dict[str, Any]:
    """The definition as plain values; `samples` are the settings of `space.samples()`.

    `settings` are those of the first sample without what is searched, `of_samples` a hash of all, in any order: a
    fixed value that only another model uses is a part of the definition too.
    """
    from optuna.distributions import distribution_to_json

    values = [job_settings(sample) for sample in samples]
    settings = json.loads(json.dumps(values[0]))
    for key in space.dimensions:
        _drop(settings, key)
    spaces = {key: json.loads(distribution_to_json(found)) for key, found in space.distributions.items()}
    asked = search.model_dump(mode="json")
    definition = {
        "settings": settings,
        "of_samples": content_hash({"samples": sorted(map(content_hash, values))}),
        "space": spaces,
        "search": {key: asked[key] for key in COMPARED},
    }
    as_stored: dict[str, Any] = json.loads(json.dumps(definition))
    return as_stored


def check_definition(
    study: str,
    known: dict[str, Any],
    wanted: dict[str, Any],
    remedy: str = "leave search.study out, or give it another name",
) -> None:
    """Raise ConfigError naming what differs between the definition of a study and that of this command."""
    if known == wanted:
        return
    before, now = flat(known), flat(wanted)
    differing = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    named = [key for key in differing if key != "of_samples"]
    lines = [
        f"  {key.removeprefix('settings.')}: {before.get(key, 'not set')} there, {now.get(key, 'not set')} here"
        for key in named
    ]
    if not lines:
        lines = ["  a fixed value that only some of the searched choices use"]
    raise ConfigError(
        f"study {study} holds trials of another definition, and the two cannot be compared:\n"
        + "\n".join(lines)
        + f"\nSet these back, or {remedy}"
    )


def planned_trials(search: Search, space: SearchSpace) -> int:
    """How many trials the search is to have; ConfigError where its sampler cannot do with this space, or at all."""
    if search.name == "cmaes" and find_spec("cmaes") is None:
        raise ConfigError("search=cmaes needs cmaes: pip install 'leukemia-lab[search]'")
    if search.name != "grid":
        assert search.n_trials is not None  # the schema says so
        return search.n_trials
    return space.n_points if search.n_trials is None else min(search.n_trials, space.n_points)


def _drop(values: dict[str, Any], key: str) -> None:
    """Take the value, or the group, at an override's key out of `values`."""
    *nodes, last = key.lstrip("+").partition("@")[0].replace("/", ".").split(".")
    for node in nodes:
        values = values.get(node, {})
    values.pop(last, None)
