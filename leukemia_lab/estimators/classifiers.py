"""From a config node to a scikit-learn classifier: what can be wrong with it, and its accelerated twin."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from sklearn.base import clone, is_classifier

from leukemia_lab.errors import ConfigError
from leukemia_lab.targets import KEY, build, locate, target_faults
from leukemia_lab.wording import nearest

NODE = "model.classifier.estimator"
GRID = "model.classifier.grid"
ALL_CORES = -1
# Those of scikit-learn-intelex whose predictions were compared with scikit-learn's.
ACCELERATED = {
    "sklearn.svm.SVC": "sklearnex.svm.SVC",
    "sklearn.neighbors.KNeighborsClassifier": "sklearnex.neighbors.KNeighborsClassifier",
    "sklearn.ensemble.RandomForestClassifier": "sklearnex.ensemble.RandomForestClassifier",
}


def make_classifier(classifier: Mapping[str, Any], seed: int) -> Any:
    """The unfitted classifier of node `classifier`, on all cores and seeded where it takes that and the node is silent.

    Raises:
        ConfigError: an argument is unknown, missing or impossible.
    """
    own = inspect.signature(locate(classifier[KEY])).parameters
    supplied = {"random_state": seed, "n_jobs": ALL_CORES}
    return build({name: value for name, value in supplied.items() if name in own} | dict(classifier))


def accelerated(target: str) -> str:
    """The same class as `target` in scikit-learn-intelex where that is installed and offers it, else `target`.

    Nothing is patched: scikit-learn stays as it is for everyone else.
    """
    twin = ACCELERATED.get(target)
    return twin if twin is not None and importlib.util.find_spec("sklearnex") is not None else target


def candidates(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the grid's values, the last argument varying fastest; `[{}]` for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def classifier_faults(classifier: Mapping[str, Any], grid: Mapping[str, Any]) -> list[str]:
    """All faults of `model.classifier.estimator` and `model.classifier.grid` that show without data, a line each."""
    faults = target_faults(classifier, (), NODE)
    if faults:
        return faults
    try:
        model = build(classifier)
    except ConfigError as error:
        return [f"{NODE}: {error}"]
    if not _classifies(model):
        return [
            f"{NODE}.{KEY}: {classifier[KEY]} is no scikit-learn classifier; name one, e.g. sklearn.svm.SVC"
        ]
    if not (hasattr(model, "decision_function") or hasattr(model, "predict_proba")):
        return [
            f"{NODE}.{KEY}: {classifier[KEY]} has neither decision_function nor predict_proba with these "
            "arguments, so there is no probability to report"
        ]
    faults = list(_value_faults(model, {}, NODE))  # would come again with each value of the grid
    return faults if faults else list(_grid_faults(model, grid))


def _classifies(model: Any) -> bool:
    try:
        return hasattr(model, "get_params") and is_classifier(model)
    except AttributeError:  # a classifier of classifiers that was given none
        return False


def _grid_faults(model: Any, grid: Mapping[str, Any]) -> Iterator[str]:
    allowed = sorted(model.get_params(deep=False))
    for name, values in grid.items():
        key = f"{GRID}.{name}"
        if name not in model.get_params():
            yield (
                f"{key}: {type(model).__name__} takes no such argument (given {values!r}); "
                f"allowed: {', '.join(allowed)}.{nearest(name, allowed, GRID)}"
            )
        elif isinstance(values, str) or not isinstance(values, Sequence) or len(values) == 0:
            yield f"{key}: {values!r} is no list of values to choose among; write e.g. {name}: [1, 2]"
        else:
            for value in values:
                yield from _value_faults(model, {name: value}, key)


def _value_faults(model: Any, arguments: Mapping[str, Any], key: str) -> Iterator[str]:
    candidate = clone(model).set_params(**arguments)
    if hasattr(candidate, "_parameter_constraints"):  # scikit-learn's own classes state what fit() asks first
        try:
            candidate._validate_params()
        except ValueError as error:
            yield f"{key}: {error}"
