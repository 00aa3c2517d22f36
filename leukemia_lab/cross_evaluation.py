"""`evaluate` of any run folder: a run, or a cross-validation, whose out-of-fold predictions are pooled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from leukemia_lab import evaluating
from leukemia_lab.cross_validation import mean_document
from leukemia_lab.data.split_files import read_split
from leukemia_lab.errors import RunError
from leukemia_lab.evaluating import TEST
from leukemia_lab.evaluation.document import part_metrics, part_sections, tables_by_part, tuned_sections
from leukemia_lab.evaluation.folds import mean_metrics
from leukemia_lab.evaluation.predictions import read_predictions, write_predictions
from leukemia_lab.evaluation.result_lines import show_metrics
from leukemia_lab.evaluation.tuning import CHOSEN_ON, Tuning, tune
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import EvaluateSettings, Evaluation
from leukemia_lab.shared_cells import shared_known_cells


def evaluate(settings: EvaluateSettings, run: Path) -> dict[str, Any]:
    """Open the test part of a run, or of each fold of a cross-validation; returns the new content of metrics.json.

    In that of a cross-validation `test` is of the pooled predictions, `test_mean` the mean over the folds and
    `per_fold` their values.

    Raises:
        RunError: as `evaluating.evaluate` does, or the folds are not those of the cross-validation, or do not
            test each cell once.
    """
    folder = RunFolder.existing(run)
    if not folder.is_cross_validation:
        return evaluating.evaluate(settings, run)
    document = evaluate_folder(settings, folder)
    show_metrics(document, ["val", TEST, "test_mean"])
    RESULTS.print(f"test part of each fold opened {folder.record['test_looks']} time(s) by its run")
    RESULTS.print(f"run folder: {folder.path}", markup=False, soft_wrap=True)
    return document


def evaluate_folder(settings: EvaluateSettings, folder: RunFolder, *, again: bool = True) -> dict[str, Any]:
    """`evaluate` of what lies in `folder`, a run or a cross-validation, without showing the result.

    Where not `again`, a test part that has been opened in the same way is not opened another time.
    """
    if not folder.is_cross_validation:
        return evaluating.evaluate_run(settings, folder, None, again=again)
    with folder.held():
        evaluating.require_finished(folder)
        if not again and evaluating.is_evaluated(settings, folder):
            return folder.metrics()
        return _evaluate(settings, folder, again=again)


def _evaluate(settings: EvaluateSettings, folder: RunFolder, *, again: bool) -> dict[str, Any]:
    runs = [_run_of(folder, fold) for fold in folder.record["folds"]]  # all, before a test part is opened
    # once: the folds have one index
    known = shared_known_cells(evaluating.trained_settings(runs[0], settings.data_root))
    documents = []
    for k, run in enumerate(runs):
        CONSOLE.print(f"fold {k} of {len(runs)} ({run.path})", markup=False)
        documents.append(evaluating.evaluate_run(settings, run, known, again=again))
    tested = pooled(runs)
    write_predictions(tested, folder.path / record.PREDICTIONS)
    folder.update(test_time=settings.test_time, test_looks=max(run.record["test_looks"] for run in runs))
    document = _document(folder, runs, documents, tested, settings.evaluation)
    (folder.path / record.FIGURES).mkdir(exist_ok=True)
    evaluating.write_tested(folder, document, tested)
    return document


def _run_of(folder: RunFolder, fold: dict[str, Any]) -> RunFolder:
    """The finished run of a fold; RunError where it is another one than the cross-validation was made of."""
    run = RunFolder.existing(folder.path / fold["run"])
    evaluating.require_finished(run)
    if run.record["identity"] != fold["identity"]:
        raise RunError(
            f"{run.path} holds another run ({run.record['identity']}) than the cross-validation was made of "
            f"({fold['identity']}): repeat its train command with force=true"
        )
    return run


def pooled(runs: list[RunFolder]) -> pd.DataFrame:
    """The predictions for the test part of each fold's run in one table; `fold` counts the runs.

    Raises:
        RunError: a cell of the folds' splits is tested twice, or never.
    """
    tables = [read_predictions(run.path / record.PREDICTIONS) for run in runs]
    tested = [table[table["part"] == TEST].assign(fold=fold) for fold, table in enumerate(tables)]
    table = pd.concat(tested, ignore_index=True).astype({"fold": "Int64"})
    cells = {cell for run in runs for cell in read_split(run.path / record.SPLIT).table["cell_id"]}
    times = table["cell_id"].value_counts().reindex(sorted(cells | set(table["cell_id"])), fill_value=0)
    wrong = times[times != 1]
    if not wrong.empty:
        raise RunError(
            f"{runs[0].path.parent}: {len(wrong)} of {len(times)} cells are not tested once over its {len(runs)} "
            f"folds ({wrong.index[0]}: {wrong.iloc[0]} times); repeat its train command with force=true"
        )
    return table


def _document(
    folder: RunFolder,
    runs: list[RunFolder],
    documents: list[dict[str, Any]],
    tested: pd.DataFrame,
    evaluation: Evaluation,
) -> dict[str, Any]:
    class_names, positive = folder.record["class_names"], folder.record["positive"]
    tests = [document[TEST] for document in documents]
    per_fold = [
        {"fold": k, TEST: {name: metric["value"] for name, metric in metrics.items()}}
        for k, metrics in enumerate(tests)
    ]
    members = [_tuned(run, evaluation) for run in runs]
    return (
        mean_document(documents, evaluating.evaluated_stamps(folder))
        | {
            TEST: part_metrics(tested, class_names, positive, evaluation),
            "test_mean": mean_metrics(tests),
            "per_fold": per_fold,
            "objective": folder.record["objective"],  # of training, whatever evaluating averages over
            "test_time": folder.record["test_time"],
        }
        | part_sections({TEST: tested}, class_names, positive, evaluation)
        | tuned_sections(members, class_names, positive, evaluation)
    )


def _tuned(run: RunFolder, evaluation: Evaluation) -> tuple[Tuning, dict[str, pd.DataFrame]]:
    """What the run of a fold chose on its own validation cells, and its test cells."""
    tables = tables_by_part(read_predictions(run.path / record.PREDICTIONS))
    tuning = tune(tables[CHOSEN_ON], run.record["class_names"], run.record["positive"], evaluation)
    return tuning, {TEST: tables[TEST]}
