"""From overrides to checked settings: composing with Hydra, finding all faults, resolving `auto`, identity.

Hydra and OmegaConf end here and in the commands; everything below takes plain arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from leukemia_lab.errors import ConfigError, listed
from leukemia_lab.schema.evaluation import Evaluation
from leukemia_lab.targets import target_faults
from leukemia_lab.wording import first_line, nearest, not_understood

Settings = TypeVar("Settings", bound=BaseModel)

# What our code gives to each kind of target; a config may not set these.
SUPPLIED = {
    "model.net": ("in_channels", "n_classes", "image_size"),
    "model.weights": (),
    "model.features.net": ("in_channels", "n_classes", "image_size"),
    "model.features.weights": (),
    "model.classifier.estimator": (),
    "augment.on_device": (),
    "augment.on_host": (),
    "optim.optimizer": ("params", "lr", "weight_decay"),
    "search.sampler": ("seed",),
    "search.pruner": (),
}
# What Pydantic calls in the words of JSON, in those of a user.
KINDS = {"a valid string": "text", "a valid array": "a list, [a, b]", "an object": "keys with values"}


@cache
def standard_evaluation() -> Evaluation:
    """The choice `default` of the group `evaluation`: how numbers are made where nobody asked for another way."""
    path = conf_dir() / "evaluation" / "default.yaml"
    return Evaluation.model_validate(OmegaConf.to_container(OmegaConf.load(path)))


@cache
def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"conf/train.yaml is neither in {package} nor beside it: install leukemia-lab again")


def config_loader(extra_dir: str | None) -> ConfigLoader:
    """Hydra's loader over conf/ and, before it, the user's `--config-dir`."""
    Plugins.instance()
    search_path = create_config_search_path(str(conf_dir()))
    if extra_dir is not None:
        folder = Path(extra_dir).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {extra_dir}: no such folder")
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(config_search_path=search_path)


class Composer(Generic[Settings]):
    """Composes one primary config (`train`, `evaluate`) and words everything that is wrong with it."""

    def __init__(self, config_name: str, settings: type[Settings], extra_dir: str | None) -> None:
        self.config_name = config_name
        self.settings = settings
        self.loader = config_loader(extra_dir)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config with `overrides`, Hydra's own node included; raises Hydra's and OmegaConf's errors."""
        return self.loader.load_configuration(self.config_name, list(overrides), run_mode=RunMode.RUN)

    def override_faults(self, overrides: Sequence[str]) -> list[str]:
        """The faults of each override taken singly: what cannot be parsed, found or set."""
        faults = []
        groups: list[str] = []
        for text in sorted(overrides, key=self._after_its_group):
            fault = self._override_fault(text, groups)
            if fault is not None:
                faults.append(fault)
            elif self._is_group_choice(text):
                groups.append(text)
        return faults

    def settings_faults(self, config: DictConfig) -> list[str]:
        """The faults of a composed config: schema first, then the arguments of every `_target_` node."""
        try:
            values = plain(config)
        except OmegaConfBaseException as error:
            return [first_line(error)]
        faults = [f"{key}: not set; give {key}=…" for key in _missing_keys(values)]
        faults = faults if faults else schema_faults(self.settings, values)
        for key, supplied in SUPPLIED.items():
            node = _select(values, key)
            if isinstance(node, Mapping) and node.get("_target_") != "???":  # that one is named above
                faults += target_faults(node, supplied, key)
        return faults

    def _after_its_group(self, text: str) -> tuple[bool, int]:
        """Sorts choices of groups first, and of these `model=` before `model/features=`."""
        return not self._is_group_choice(text), text.partition("=")[0].count("/")

    def _is_group_choice(self, text: str) -> bool:
        key = text.partition("=")[0]
        return bool(self._options(key.lstrip("+~")))

    def _options(self, group: str) -> list[str]:
        if not all(name.isidentifier() for name in group.split("/")):
            return []
        return list(self.loader.get_group_options(group, ObjectType.CONFIG))

    def _override_fault(self, text: str, groups: Sequence[str]) -> str | None:
        try:
            override = OverridesParser.create().parse_override(text)
            if override.is_sweep_override() and not override.is_discrete_sweep():
                return f"{text}: this sweep takes lists of values, e.g. {override.key_or_group}=1,2,3"
        except (HydraException, ValueError) as error:
            return not_understood(text, error)
        try:
            self.compose([*groups, text])
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            return self._explain(override, error, groups)
        return None

    def _explain(self, override: Override, error: Exception, groups: Sequence[str]) -> str:
        key, value = override.key_or_group, override.get_value_element_as_str()
        options = self._options(key)
        if value in options and "/" in key:
            group = key.partition("/")[0]
            return (
                f"{key}={value}: the chosen {group} has no {key.partition('/')[2]}; choose another {group}=…"
            )
        if value in options:
            return f"{key}={value}: {self.config_name} has no {key} to choose; leave it out"
        if options:
            return f"{key}: {value!r} is no choice; allowed: {', '.join(options)}.{nearest(value, options)}"
        config = self.compose(groups)
        parent_key, _, name = key.rpartition(".")
        while parent_key and _select(config, parent_key) is None:
            parent_key, _, name = parent_key.rpartition(".")
        parent = _select(config, parent_key) if parent_key else config
        if not isinstance(parent, DictConfig) or name in parent:
            return f"{key}: {value!r} cannot be set: {first_line(error)}"
        allowed = [str(other) for other in parent if other != "hydra"]
        hint = nearest(name, allowed, parent_key) or _same_name_elsewhere(name, config)
        where = parent_key if parent_key else "the top level"
        return f"{key}: no such key (given {value!r}); allowed in {where}: {', '.join(allowed)}.{hint}"


def schema_faults(settings: type[BaseModel], values: Mapping[str, Any], sign: str = "=") -> list[str]:
    """One line for each key that the schema refuses: key, given, allowed; `sign` follows a key, `: ` in a YAML."""
    try:
        settings.model_validate_json(json.dumps(values))
    except ValidationError as error:
        by_key: dict[str, list[Any]] = {}
        for fault in error.errors(include_url=False):
            by_key.setdefault(_key_of(fault["loc"], values, fault["type"]), []).append(fault)
        return [_schema_fault(key, own, sign) + _hint(settings, own[0]) for key, own in by_key.items()]
    return []


def checked(settings: type[Settings], config: DictConfig) -> Settings:
    """The settings of a composed config; ConfigError with all faults."""
    values = plain(config)
    faults = schema_faults(settings, values)
    if faults:
        raise faults_error(faults)
    return settings.model_validate_json(json.dumps(values))


def faults_error(faults: Sequence[str]) -> ConfigError:
    """One error for all faults."""
    return ConfigError(listed(faults))


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain Python, resolved, without Hydra's node; a missing `???` stays as text."""
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    container = OmegaConf.to_container(ours, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key != "experiment"}


def _key_of(location: Sequence[int | str], values: Any, kind: str) -> str:
    """Pydantic's location without the tags of unions, as a config key: `optim.lr`, `rows[1] 'SVM': name`."""
    key: list[str] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(values, list) and isinstance(part, int):
            values = values[part]
            key[-1] += f"[{part}]" if last else f"[{part}]{_name_of(values)}: "
            continue
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif not (last and kind == "missing"):
            continue
        key.append(str(part))
    return ".".join(key).replace(": .", ": ")


def _name_of(values: Any) -> str:
    name = values.get("name") if isinstance(values, Mapping) else None
    return f" {name!r}" if isinstance(name, str) and name else ""


def _hint(settings: type[BaseModel], fault: Mapping[str, Any]) -> str:
    """A hint for a key that there is not: the nearest one that its node has."""
    nodes = [settings]
    for part in fault["loc"][:-1]:
        kinds = [node.model_fields[part].annotation for node in nodes if part in node.model_fields]
        nodes = [model for kind in kinds for model in _models_in(kind)] or nodes
    is_sure = fault["type"] == "extra_forbidden" and len(nodes) == 1  # of several, who knows which was meant
    hint = nearest(str(fault["loc"][-1]), nodes[0].model_fields) if is_sure else ""
    return f".{hint}" if hint else ""


def _models_in(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in get_args(kind) for model in _models_in(part)]


def _schema_fault(key: str, faults: Sequence[Mapping[str, Any]], sign: str) -> str:
    first = faults[0]
    if first["type"] == "missing":
        return f"{key}: not set; give {key.rpartition(': ')[2]}{sign}…"
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key (given {first['input']!r})"
    ours = [
        str(fault["msg"]).removeprefix("Value error, ") for fault in faults if fault["type"] == "value_error"
    ]
    if ours:
        return f"{key}: {ours[0]}"
    allowed = " or ".join(_allowed(fault) for fault in faults)
    hint = nearest(str(first["input"]), [word for fault in faults for word in _choices(fault)])
    return f"{key}: {first['input']!r} cannot be used; allowed: {allowed}.{hint}"


def _choices(fault: Mapping[str, Any]) -> list[str]:
    if fault["type"] != "literal_error":
        return []
    return str(fault["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")


def _allowed(fault: Mapping[str, Any]) -> str:
    said = str(fault["msg"]).removeprefix("Input should be ")
    return ", ".join(_choices(fault)) or KINDS.get(said, said)


def _select(values: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, Mapping | DictConfig) or part not in values:
            return None
        values = values[part]
    return values


def _missing_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys that are `???`, mandatory and not given."""
    found: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _missing_keys(value, f"{prefix}{key}.")
        elif value == "???":
            found.append(f"{prefix}{key}")
    return found


def _same_name_elsewhere(name: str, config: DictConfig) -> str:
    """A hint for `lr=1e-3` where `optim.lr` is meant."""
    nodes = [str(node) for node in config if node != "hydra"]
    found = [f"{node}.{name}" for node in nodes if _select(config, f"{node}.{name}") is not None]
    return f" Did you mean {' or '.join(found)}?" if found else ""
