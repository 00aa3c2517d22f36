"""How much of the subject a finished run's features carry, beside what size and colour of the same cells carry."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from leukemia_lab.auditing.confounds import SINGLE
from leukemia_lab.auditing.subject_probe import SubjectProbe, subject_recalls, summarised
from leukemia_lab.cells import KnownCells
from leukemia_lab.classical_runs import run_extractor
from leukemia_lab.device import resolve_device
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.evaluating import TEST, require_finished, trained_cells, trained_settings
from leukemia_lab.experiment import data_module
from leukemia_lab.extraction import features_of, trained_net_extractor
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import NetModel
from leukemia_lab.shared_cells import shared_known_cells

FEATURES, BESIDE = "features", ("size", "colour")


def probe_run(
    run: Path,
    part: Literal["train", "val", "test"] = "test",
    data_root: Path | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    level: float = 0.95,
) -> dict[str, SubjectProbe]:
    """`subject_probe` of the features that a run's model decides by, and of size and colour as the audit has them.

    The subjects are groups (twins merged, unless the run ignores them), told apart among those of their true class,
    whatever labels were trained on. Of a cross-validation the features of each fold's model are probed on that fold's
    cells, and the recalls of all folds joined. In `val` and `test` they are subjects that the model was not trained on,
    but for a run that is LEAKY. The test part must have been evaluated: a probe is no further look, as it says nothing
    of how well classes are told apart.

    Returns:
        By `features`, `size`, `colour`.

    Raises:
        RunError: a run is not finished, its data or split are not what it was trained on, or its test part is closed.
    """
    folder = RunFolder.existing(run)
    of_folds = [RunFolder.existing(run / fold["run"]) for fold in folder.record.get("folds", [])]
    runs = of_folds if folder.is_cross_validation else [folder]
    for member in runs:
        _require_open(member, part)
    known = shared_known_cells(trained_settings(runs[0], data_root))  # once: the folds have one index
    found = [_recalls(member, part, known, data_root, accelerator) for member in runs]
    return {
        name: summarised(
            pd.concat([own[name].assign(label=f"{k} " + own[name]["label"]) for k, own in enumerate(found)]),
            level,
        )
        for name in (FEATURES, *BESIDE)
    }


def _require_open(folder: RunFolder, part: str) -> None:
    require_finished(folder)
    if part == TEST and folder.record["test_looks"] == 0:
        raise RunError(
            f"{folder.path}: its test part is closed: evaluate run={folder.path} first, or probe val"
        )


def _recalls(
    folder: RunFolder, part: str, known: KnownCells, data_root: Path | None, accelerator: str
) -> dict[str, pd.DataFrame]:
    """`subject_recalls` of the cells of `part` by the run's features, by size and by colour."""
    trained = trained_settings(folder, data_root)
    cells = trained_cells(trained, folder, known)
    data = data_module(trained, cells, resolve_device(accelerator, "accelerator"), trained.trainer.batch_size)
    if isinstance(trained.model, NetModel):
        net = load_model(folder.path / folder.record["best_checkpoint"])
        weights = f"best weights of run {folder.record['identity']}"
        extractor = trained_net_extractor(trained, net, data, weights)
    else:
        extractor = run_extractor(trained, cells, folder, data)
    table = cells.index.table.iloc[data.rows[part].cpu().numpy()]
    subjects = table["group"].where(table["subject"].notna(), None).to_numpy(dtype=object)
    labels = table["label"].to_numpy(dtype=object)
    values = {FEATURES: features_of(extractor, cells, data, part)}
    values |= {name: table[SINGLE[name]].to_numpy(dtype=np.float64, na_value=np.nan) for name in BESIDE}
    return {name: subject_recalls(own, subjects, labels) for name, own in values.items()}
