"""What the dashboards cost: processor time of `train` with all that is shown in TensorBoard, and without.

Prints one line: the share of the time of the epochs, and the seconds before and after them, which do not grow with
their number. Both kinds run in turn in one process; medians. The losses and metrics by epoch are logged in both.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from lightning import Callback

from leukemia_lab import net_runs, train, training
from leukemia_lab.estimators.fit import fit
from leukemia_lab.runs import tensorboard

RUN = ("model=simple_cnn", "pipeline.image_size=64", "data.n_cells=500", "data.n_subjects=36", "force=true")


@contextlib.contextmanager
def without_dashboards() -> Iterator[None]:
    """Nothing is drawn or explained inside, and no curve, text or row of HParams written."""
    nothing: dict[Any, tuple[str, ...]] = {
        tensorboard: ("log_about", "log_layout", "log_final"),
        training: ("log_part", "log_projector", "explain"),
        net_runs: ("_log_pictures", "_embedded"),
    }
    with contextlib.ExitStack() as stack:
        for module, names in nothing.items():
            for name in names:
                stack.enter_context(mock.patch.object(module, name, return_value=None))
        stack.enter_context(mock.patch.object(net_runs, "ValidationCurves", return_value=Callback()))
        yield


def seconds(folder: Path, n_epochs: int) -> tuple[float, float]:
    """Processor seconds of the epochs of one training, and of all before and after them."""
    of_fit = 0.0

    def timed(*given: Any, **named: Any) -> Any:
        nonlocal of_fit
        started = time.process_time()
        try:
            return fit(*given, **named)
        finally:
            of_fit += time.process_time() - started

    started = time.process_time()
    with mock.patch.object(net_runs, "fit", timed):
        status = train.main([*RUN, f"trainer.max_epochs={n_epochs}", f"hydra.run.dir={folder}"])
    if status != 0:
        raise SystemExit(f"train ended with {status}")
    return of_fit, time.process_time() - started - of_fit


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as place:
        seconds(Path(place) / "run", args.epochs)  # draws the cells, imports, loads fonts
        for _ in range(args.rounds):
            found["on"].append(seconds(Path(place) / "run", args.epochs))
            with without_dashboards():
                found["off"].append(seconds(Path(place) / "run", args.epochs))
    (on, on_rest), (off, off_rest) = (
        tuple(statistics.median(column) for column in zip(*found[kind], strict=True))
        for kind in ("on", "off")
    )
    print(
        f"simple_cnn at 64 px, 500 cells, {args.epochs} epochs: {on:.2f} s with dashboards, {off:.2f} s without, "
        f"{on / off - 1:+.1%}; before and after the epochs {on_rest - off_rest:+.2f} s a run "
        f"(processor time, medians of {args.rounds})"
    )


if __name__ == "__main__":
    main()
