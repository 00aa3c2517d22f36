"""What a run shows in TensorBoard beside its scalars: curves, pictures, configuration, HParams, groups of charts."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from leukemia_lab.runs.record import TENSORBOARD

STAMPS = "stamps"  # the column of the HParams tab
NO_STAMPS = "none"
RECORD_BYTES, HEAD_BYTES = 16, 15  # what `blank` adds: around a record, and before the filling of its event
HPARAMS_SUFFIX = ".hparams"  # of the one event file with the run's row of the HParams tab
LAYOUT = {  # the charts of the tab "Custom Scalars"
    "1 loss": {"training and validation": ["train/loss", "val/loss"]},
    "2 discrimination": {
        "ranking": ["val/auroc", "val/auprc"],
        "decisions": ["val/balanced_accuracy", "val/accuracy", "val/mcc"],
        "error rates": ["val/sensitivity", "val/specificity"],
        "precision and F1": ["val/precision", "val/f1", "val/weighted_f1"],
    },
    "3 calibration": {"probabilities": ["val/ece", "val/brier"]},
    "4 optimiser": {"learning rate": ["optim/lr"], "gradient norm before clipping": ["optim/gradient_norm"]},
    "5 speed": {
        "training": ["speed/images_per_second"],
        "share of time waiting for data": ["speed/data_wait_share"],
        "memory": ["memory/device_bytes", "memory/process_bytes"],
    },
}


def run_logger(run_folder: Path) -> TensorBoardLogger:
    """The logger of a run; `tensorboard --logdir` on any folder above finds it."""
    return TensorBoardLogger(run_folder, name="", version=TENSORBOARD, default_hp_metric=False)


@contextmanager
def logging_to(run_folder: Path) -> Iterator[TensorBoardLogger]:
    """The logger of a run, closed at the end whatever happens: one left open keeps a thread and its file."""
    logger = run_logger(run_folder)
    status = "failed"
    try:
        yield logger
        status = "success"
    finally:
        logger.finalize(status)
        logger.experiment.close()  # where nothing was logged, Lightning has opened it only now


def figure_title(text: str, stamps: Sequence[str]) -> str:
    """`text` and each stamp in brackets."""
    return text + "".join(f" [{stamp}]" for stamp in stamps)


def log_figure(logger: TensorBoardLogger, tag: str, figure: Figure, step: int) -> None:
    """Add a figure under `tag`."""
    logger.experiment.add_figure(tag, figure, step, close=False)


def log_pr_curves(
    logger: TensorBoardLogger,
    tag: str,
    table: pd.DataFrame,
    class_names: Sequence[str],
    positive: str | None,
    step: int,
) -> None:
    """Add the precision-recall curve of the positive class, or of each class against the rest, as `<tag>/<class>`.

    `table` has `label` and `prob_<class>` of one part; a class without a cell has no curve.
    """
    for name in class_names if positive is None or len(class_names) != 2 else [positive]:
        is_class = (table["label"] == name).to_numpy()
        if is_class.any():
            probs = np.clip(table[f"prob_{name}"].to_numpy(dtype=float), 0.0, 1.0)
            logger.experiment.add_pr_curve(f"{tag}/{name}", is_class, probs, step)


def log_layout(logger: TensorBoardLogger) -> None:
    """Group the scalars of training into charts in the tab "Custom Scalars"."""
    charts = {
        group: {chart: ["Multiline", tags] for chart, tags in found.items()}
        for group, found in LAYOUT.items()
    }
    logger.experiment.add_custom_scalars(charts)


def log_about(
    logger: TensorBoardLogger, settings: Mapping[str, Any], stamps: Sequence[str], step: int = 0
) -> None:
    """Show the flat settings as a table, and the stamps, in the tab "Text"."""
    rows = [f"| `{key}` | {_cell(_setting(value))} |" for key, value in settings.items()]
    logger.experiment.add_text("run/config", "\n".join(["| setting | value |", "| --- | --- |", *rows]), step)
    log_stamps(logger, stamps, step)


def log_stamps(logger: TensorBoardLogger, stamps: Sequence[str], step: int) -> None:
    """Show the stamps in the tab "Text"."""
    text = "\n".join(f"- **{stamp}**" for stamp in stamps) if stamps else NO_STAMPS
    logger.experiment.add_text("run/stamps", text, step)


def log_final(
    logger: TensorBoardLogger,
    settings: Mapping[str, Any],
    metrics: Mapping[str, float],
    stamps: Sequence[str],
) -> None:
    """Write this run's row of the HParams tab: flat settings, stamps, and final metrics as `hp/<part>/<metric>`.

    It replaces the row that was written before: of two in one run TensorBoard keeps the settings of the first. No
    description of the experiment is written either: TensorBoard would take the columns of the first run for those
    of all, whereas without one it looks at every run.
    """
    folder = Path(logger.log_dir)
    for old in folder.glob(f"*tfevents*{HPARAMS_SUFFIX}"):
        blank(old)
    logger.experiment.flush()
    shown = {key: _setting(value) for key, value in settings.items()}
    shown[STAMPS] = ", ".join(stamps) if stamps else NO_STAMPS
    tagged = {f"hp/{name}": value for name, value in metrics.items()}
    _, start, end = hparams(shown, tagged)  # type: ignore[no-untyped-call]
    with SummaryWriter(str(folder), filename_suffix=HPARAMS_SUFFIX) as writer:
        assert writer.file_writer is not None
        writer.file_writer.add_summary(start)
        for tag, value in tagged.items():
            writer.add_scalar(tag, value, 0)
        writer.file_writer.add_summary(end)


def blank(file: Path) -> None:
    """Overwrite an event file with one event that says nothing, of the same size.

    Were the file gone, a server that has it open would read nothing more of the run; were it shorter, the server
    would log an error.
    """
    size = file.stat().st_size - RECORD_BYTES - HEAD_BYTES
    if size < 0:  # cut off while its first event was written: nothing to take back
        return
    length = bytes((size >> shift) & 0x7F | (0x80 if shift < 28 else 0) for shift in range(0, 35, 7))
    said = b"\x09" + struct.pack("<d", time.time())  # field 1, the time: the run's first event must have one
    filling = b"\x7a" + length + bytes(size)  # field 15, which no event has and every reader skips
    with file.open("r+b") as stream:
        RecordWriter(stream).write(said + filling)


def _setting(value: Any) -> float | str:
    """A number, or text: TensorBoard takes true for 1, and leaves null out."""
    return (
        value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)
    )


def final_values(document: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the validation part, and of the test part where it was opened, as `<part>/<metric>`."""
    parts = [part for part in ("val", "test") if part in document]
    values = {f"{part}/{name}": metric["value"] for part in parts for name, metric in document[part].items()}
    return {name: value for name, value in values.items() if value is not None}


def _cell(value: Any) -> str:
    """A value in a Markdown table; what would end the cell is escaped."""
    return (
        str(value)
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("\n", " ")
        .replace("_", "\\_")
        .replace("*", "\\*")
    )
