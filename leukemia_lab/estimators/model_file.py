"""A classical model in a file that holds data, never code: skops instead of pickle."""

from __future__ import annotations

from pathlib import Path

import skops.io

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.classical import ClassicalFit

TRUSTED = ("sklearn", "numpy", "scipy")


def save_model(fit: ClassicalFit, path: Path) -> None:
    """Write `fit` to `path`, whole or not at all."""
    with replacing(path) as partial:
        skops.io.dump(vars(fit) | {"notes": list(fit.notes)}, partial)


def load_model(path: Path, target: str) -> ClassicalFit:
    """Read what `save_model` wrote.

    Types of scikit-learn, NumPy and SciPy are trusted, and those of the module of `target`, the classifier that
    the run's config names (not the file: it could name anything).

    Raises:
        RunError: the file is missing, damaged, or holds a type that is not trusted.
    """
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        allowed = (*TRUSTED, target.rpartition(".")[0])
        foreign = [name for name in unknown if not name.startswith(tuple(f"{module}." for module in allowed))]
        if not foreign:
            content = skops.io.load(path, trusted=unknown)
            return ClassicalFit(**content | {"notes": tuple(content["notes"])})
    except FileNotFoundError:
        raise RunError(f"{path} is missing: train the run again with force=true") from None
    except Exception as error:  # whatever a damaged archive makes zipfile, json or NumPy say
        raise RunError(f"{path} cannot be loaded ({error!r}): train the run again with force=true") from error
    raise RunError(
        f"{path} holds types that {target} does not need: {', '.join(foreign)}. It was not loaded; if you did "
        "not make this file, do not use it, else train the run again with force=true"
    )
