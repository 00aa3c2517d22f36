"""`_target_` nodes: find the callable, check its arguments against its signature, call it.

A config names what it builds by its import path, so that a user's own net needs no edit here. Checking comes
before building, and finds all faults at once: unknown, missing and mistyped arguments.
"""

from __future__ import annotations

import importlib
import inspect
import json
import traceback
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from leukemia_lab.errors import ConfigError
from leukemia_lab.wording import nearest

KEY = "_target_"
EXTRAS = {"optuna": "search"}  # optional packages that our own configs name, and what installs them


def locate(path: str) -> Callable[..., Any]:
    """The object that `path` (`package.module.name`) stands for; ConfigError where there is none."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name + ".").startswith(error.name + "."):
                continue
            raise ConfigError(f"{path}: importing {module_name} failed: {error}") from error
        except Exception as error:
            raise ConfigError(f"{path}: importing {module_name} failed: {error!r}") from error
        for name in parts[cut:]:
            if not hasattr(found, name):
                hint = nearest(name, [public for public in dir(found) if not public.startswith("_")])
                raise ConfigError(f"{module_name} has no {name!r}.{hint}")
            found = getattr(found, name)
        if not callable(found):
            raise ConfigError(f"{path} is a {type(found).__name__}, not a class or function")
        return typing.cast("Callable[..., Any]", found)
    if parts[0] in EXTRAS:
        raise ConfigError(f"{parts[0]} is not installed: pip install 'leukemia-lab[{EXTRAS[parts[0]]}]'")
    raise ConfigError(
        f"no module {parts[0]!r} can be imported; write package.module.name, and put your own file's folder "
        f"on PYTHONPATH"
    )


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Call the target of `node` with the node's other keys and `supplied`; ConfigError lists all faults."""
    faults = target_faults(node, supplied.keys(), "target")
    if faults:
        raise ConfigError("; ".join(faults))
    arguments = {name: value for name, value in node.items() if name != KEY}
    try:
        return locate(node[KEY])(**supplied, **arguments)
    except (
        ConfigError,
        NotImplementedError,
    ):  # the latter: what the meta device cannot do, for preflight to judge
        raise
    except Exception as error:
        raise ConfigError(
            f"{node[KEY]} cannot be built with {arguments}: {type(error).__name__}: {error}{where(error)}"
        ) from error


def where(error: BaseException) -> str:
    """` (file.py:12)`: the line that raised `error`, where it is known."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def target_faults(node: Mapping[str, Any], supplied: Collection[str], key: str) -> list[str]:
    """All faults of the `_target_` node at config key `key`, one line each; `supplied` comes from our code."""
    if not isinstance(node.get(KEY), str):
        return [
            f"{key}.{KEY}: missing; it names the class or function to build, e.g. my_package.my_module.MyNet"
        ]
    try:
        target = locate(node[KEY])
        signature = inspect.signature(target)
    except (ConfigError, ValueError) as error:
        return [f"{key}.{KEY}: {node[KEY]!r} cannot be used: {error}"]
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return []
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    allowed = [name for name in named if name not in supplied]
    faults = [
        f"{key}.{name}: {node[KEY]} takes no such argument (given {node[name]!r}); "
        f"allowed: {', '.join(allowed) if allowed else 'none'}.{nearest(name, allowed, key)}"
        for name in node
        if name != KEY and name not in allowed
    ]
    faults += [
        f"{key}.{name}: missing; {node[KEY]} needs it"
        for name in allowed
        if named[name].default is inspect.Parameter.empty and name not in node
    ]
    faults += [
        f"{node[KEY]} takes no argument {name!r}, which leukemia_lab gives to every {key}"
        for name in supplied
        if name not in named
    ]
    hints = _type_hints(target)
    return faults + [
        fault
        for name in allowed
        if name in node and name in hints
        for fault in _type_fault(hints[name], node[name], f"{key}.{name}")
    ]


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # a foreign annotation that cannot be evaluated: the call itself will judge the value
        return {}


def _type_fault(hint: Any, value: Any, key: str) -> list[str]:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.validate_json(json.dumps(value), strict=True)  # as JSON a list may stand for a tuple
    except ValidationError as error:
        return [f"{key}: {value!r} cannot be used: {error.errors()[0]['msg']}"]
    except PydanticSchemaGenerationError:
        return []
    return []
