"""What a run shows in TensorBoard beside its scalars: pictures, confusion matrix, configuration, HParams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from leukemia_lab.runs.record import TENSORBOARD


def run_logger(run_folder: Path) -> TensorBoardLogger:
    """The logger of a run; `tensorboard --logdir` on any folder above finds it."""
    return TensorBoardLogger(run_folder, name="", version=TENSORBOARD, default_hp_metric=False)


def log_figure(logger: TensorBoardLogger, tag: str, figure: Figure, step: int) -> None:
    """Add a figure under `tag`."""
    logger.experiment.add_figure(tag, figure, step, close=False)


def log_text(logger: TensorBoardLogger, tag: str, text: str) -> None:
    """Add preformatted text under `tag`."""
    logger.experiment.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()))


def log_final(logger: TensorBoardLogger, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Fill this run's row of the HParams tab: flat settings, and final metrics as `hp/<part>/<metric>`."""
    shown = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in settings.items()
    }
    logger.log_hyperparams(shown, {f"hp/{name}": value for name, value in metrics.items()})
    logger.save()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `optim.lr`-like keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def final_values(document: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the validation part, and of the test part where it was opened, as `<part>/<metric>`."""
    parts = [part for part in ("val", "test") if part in document]
    values = {f"{part}/{name}": metric["value"] for part in parts for name, metric in document[part].items()}
    return {name: value for name, value in values.items() if value is not None}
