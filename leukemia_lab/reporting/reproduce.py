"""How to repeat a run: the commands to type, and what has to be the same for the result to be the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leukemia_lab.evaluation.operating_point import BALANCED_ACCURACY
from leukemia_lab.evaluation.uncertainty import LEVEL
from leukemia_lab.wording import in_quotes

PROGRAM = ("python", "-m")
# what `auto` stood for on the machine of the run; on another it may stand for something else, which is another run
RESOLVED = ("trainer.accelerator", "trainer.precision", "model.classifier.accelerate")
GROUPS = ("data", "protocol", "augment", "balance", "optim")
OTHER_MODELS = ("timm", "own")  # choices whose nets have names of their own
DROPPED = ("force", "hydra")  # where the run goes, and that it starts over: not what the run is

Compose = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """Shell commands that repeat a run from any folder's top, and what they need.

    `train` is None where the run left no overrides and its config cannot be told from them: `reason` says why.
    `evaluate` is None where the test part was never opened. `needs` are sentences.
    """

    train: str | None
    evaluate: str | None
    needs: tuple[str, ...]
    reason: str | None


def recipe(
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    compose: Compose | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Recipe:
    """How to repeat the run of `record` (record.json), `config` (config.yaml) and `metrics` (metrics.json).

    `compose` gives the plain config of overrides, as `plain(Composer("train", TrainSettings, None).compose(…))`
    does, and raises where they cannot be composed; it is asked only for runs whose record has no overrides.
    """
    if record.get("ensemble"):
        return _ensemble(record)
    typed = record.get("overrides")
    overrides = rebuilt_overrides(config, compose) if typed is None else _kept(typed, config)
    reason = None
    if overrides is None:
        reason = (
            "record.json has no overrides, and config.yaml is no choice of conf/ with changed keys: it was made by "
            "another version, or with configs of one's own. Repeat it from config.yaml"
        )
    train = None if overrides is None else shlex.join([*PROGRAM, "leukemia_lab.train", *overrides])
    return Recipe(
        train, _evaluate(record, config, {} if metrics is None else metrics), needs(record, config), reason
    )


def _ensemble(record: Mapping[str, Any]) -> Recipe:
    """An ensemble is made by each report that names its members, and saved by none."""
    members = _text(list(record["ensemble"]))
    command = [*PROGRAM, "leukemia_lab.report", f"runs={members}", f"ensemble={members}"]
    return Recipe(
        shlex.join(command), None, ("its members: the command of each stands in its own section",), None
    )


def _evaluate(record: Mapping[str, Any], config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str | None:
    """The command that opens the test part of the run where the train command puts it."""
    if not record.get("test_looks"):
        return None
    name = str(config["model"]["name"]).replace("/", "_")
    words = [*PROGRAM, "leukemia_lab.evaluate", f"run=runs/{name}-{record['identity']}"]
    if record.get("test_time") not in (None, "none"):
        words.append(f"test_time={record['test_time']}")
    return shlex.join([*words, *_evaluation(metrics)])


def _evaluation(metrics: Mapping[str, Any]) -> list[str]:
    """The overrides of `evaluation` that the numbers were made with, less the values that stand in its config."""
    calibration, point = (_of_first_fold(metrics.get(key, {})) for key in ("calibration", "operating_point"))
    rule, least = point.get("rule", BALANCED_ACCURACY), "min_sensitivity"
    found = {
        "level": _value_at(metrics, "intervals.level"),
        "interval": _value_at(metrics, "intervals.method"),
        "calibration": calibration.get("asked", calibration.get("method")),
        least: None if rule == BALANCED_ACCURACY else rule.removeprefix(f"{least}="),
    }
    standard = {"level": LEVEL, "interval": "jackknife", "calibration": "temperature"}
    return [
        f"evaluation.{key}={value}"
        for key, value in found.items()
        if value is not None and value != standard.get(key)
    ]


def _of_first_fold(section: Mapping[str, Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = section["per_fold"][0] if "per_fold" in section else section
    return first


def needs(record: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    """What the commands need: code, data, split, device; only of what the record holds."""
    found = [_code(record), _data(record, config)]
    if record.get("split_hash"):
        found.append(f"the split that comes of them: hash {record['split_hash']}")
    found += [f"fold {fold['fold']}: split hash {fold['split_hash']}" for fold in record.get("folds", [])]
    if record.get("weights_hash"):
        found.append(f"the file of weights {config['model']['weights_path']}: hash {record['weights_hash']}")
    if record.get("hardware"):
        hardware = record["hardware"]
        found.append(
            f"for the same digits the same kind of device ({hardware['device']}; {hardware['processor']}) and the "
            "library versions of record.json"
        )
    return tuple(text for text in found if text is not None)


def _code(record: Mapping[str, Any]) -> str | None:
    commit = record.get("commit")
    if commit is not None and commit.endswith("+changes"):
        return f"the code: commit {commit.removesuffix('+changes')} with changes that were never committed"
    if commit is not None:
        return f"the code: commit {commit}"
    version = record.get("versions", {}).get("leukemia_lab")
    return None if version is None else f"the code: leukemia_lab {version}"


def _data(record: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    fingerprint = record.get("data_fingerprint")
    if fingerprint is None:
        return None
    if config["data"]["name"] == "synthetic" and config["data"].get("root") is None:
        return f"the data, which the command draws itself: fingerprint {fingerprint}"
    where = record.get("data_root")
    return f"the data: fingerprint {fingerprint}; they were at {where}, elsewhere set their path anew"


def _kept(typed: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """What was typed, less where the run went, with every `auto` of the machine as it was resolved."""
    kept = [word for word in typed if _key(word) not in (*DROPPED, *RESOLVED)]
    resolved = {key: _value_at(config, key) for key in RESOLVED}
    return kept + [f"{key}={_text(value)}" for key, value in resolved.items() if value is not None]


def _key(word: str) -> str:
    """The key of an override; `hydra` for any of Hydra's own."""
    key = word.partition("=")[0].lstrip("+~")
    return "hydra" if re.match(r"hydra[./]", key) else key


def _value_at(values: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return None
        values = values[part]
    return values


def rebuilt_overrides(config: Mapping[str, Any], compose: Compose | None) -> list[str] | None:
    """Overrides that compose to `config`: its choices of groups by name, and each key that differs from theirs.

    None where there are none, which is tried and not assumed.
    """
    if compose is None:
        return None
    wanted = {key: value for key, value in config.items() if key != "force"}
    groups = [f"{group}={_value_at(config, f'{group}.name')}" for group in GROUPS]
    for model in (str(config["model"]["name"]), *OTHER_MODELS):
        choices = [*groups, f"model={model}"]
        try:
            overrides = choices + _differences(wanted, compose(choices), "")
            made = compose(overrides)
        except Exception:  # of many kinds: this choice does not exist, or has no such key
            continue
        if _given({key: value for key, value in made.items() if key != "force"}) == _given(wanted):
            return overrides
    return None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without the keys that are null: a config lacks those that are younger, or that its choice leaves out."""
    return {
        key: _given(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def _differences(wanted: Mapping[str, Any], made: Mapping[str, Any], prefix: str) -> list[str]:
    """Overrides of the keys in which `made` is not as `wanted`."""
    found = []
    for key, value in wanted.items():
        name = f"{prefix}{key}"
        if key not in made:
            found.append(f"+{name}={_text(value)}")
        elif isinstance(value, Mapping) and isinstance(made[key], Mapping):
            found += _differences(value, made[key], f"{name}.")
        elif value != made[key]:
            found.append(f"{name}={_text(value)}")
    gone = [key for key in made if key not in wanted and not (prefix == "" and key == "force")]
    return found + [f"~{prefix}{key}" for key in gone if made[key] is not None]  # Hydra deletes no null


def _text(value: Any) -> str:
    """A value as Hydra's grammar of overrides reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(of_key)}" for key, of_key in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(one) for one in value) + "]"
    return repr(value)


def _quoted(text: str) -> str:
    """A plain word as it is; anything else in quotes."""
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    ):
        return text
    return in_quotes(text)
