"""Which finished runs can be paired, which differ only in their seed, and what stamps several bear together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leukemia_lab.errors import RunError
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import identity_settings
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import TEST_SEEN
from leukemia_lab.schema import TrainSettings


def require_comparable(runs: Sequence[RunResult]) -> None:
    """Raise RunError where two runs differ in labels, split, data or classes, so that they cannot be paired.

    Out-of-fold predictions of different splits may be: each cell is predicted by a model that never saw its group.
    """
    first = runs[0]
    for run in runs[1:]:
        if _permuting(first) != _permuting(run):
            raise RunError(_other_labels(first, run))
        out_of_fold = first.is_cross_validation and run.is_cross_validation
        if first.split_hashes != run.split_hashes and not out_of_fold:
            raise RunError(_other_split(first, run))
        if first.data_fingerprint != run.data_fingerprint:
            raise RunError(
                f"{first.path} and {run.path} were made on different data (fingerprints {first.data_fingerprint} and "
                f"{run.data_fingerprint}): a difference could be the data's. Train both on the same data"
            )
        if (first.class_names, first.positive) != (run.class_names, run.positive):
            raise RunError(
                f"{first.path} tells {', '.join(first.class_names)} apart (positive: {first.positive}), "
                f"{run.path} {', '.join(run.class_names)} (positive: {run.positive}). Train both on the same classes"
            )


def seed_groups(runs: Sequence[RunResult]) -> tuple[list[list[int]], list[RunResult]]:
    """The runs, by number, that differ only in their seed, two or more each; and those of unreadable settings."""
    groups: dict[str, list[int]] = {}
    for k, run in enumerate(runs):
        if run.train_settings is not None:
            groups.setdefault(_without_seed(run, run.train_settings), []).append(k)
    by_seed = [sorted(group, key=lambda k: (runs[k].seed is None, runs[k].seed)) for group in groups.values()]
    several = [group for group in by_seed if len({runs[k].seed for k in group}) > 1]
    return several, [run for run in runs if run.train_settings is None]


def joined_stamps(members: Sequence[RunResult]) -> list[str]:
    """Every stamp of any member once; of `TEST SEEN n TIMES` that of most times, for they looked at one test part."""
    stamps = list(dict.fromkeys(stamp for run in members for stamp in run.stamps))
    seen = [stamp for stamp in stamps if stamp.startswith(TEST_SEEN)]
    most = max(seen, key=lambda stamp: [int(word) for word in stamp.split() if word.isdigit()], default=None)
    return [stamp for stamp in stamps if stamp not in seen or stamp == most]


def _without_seed(run: RunResult, settings: TrainSettings) -> str:
    about: dict[str, Any] = identity_settings(settings)
    del about["seed"]
    rest = {key: run.record.get(key) for key in ("data_fingerprint", "weights_hash", "test_time")}
    return content_hash({"settings": about, "splits": run.split_hashes, **rest})


def _permuting(run: RunResult) -> int | None:
    """The seed by which its labels were permuted; None where they are those of the data."""
    return run.settings.get("permute_labels")


def _other_labels(first: RunResult, run: RunResult) -> str:
    by = [f"permute_labels={_permuting(one)}" for one in (first, run)]
    said = f"labels of {first.path} were permuted ({by[0]}), those of {run.path} otherwise ({by[1]})"
    if None in (_permuting(first), _permuting(run)):
        one, other, seed = (run, first, by[1]) if _permuting(first) is None else (first, run, by[0])
        said = f"labels of {one.path} were permuted ({seed}), those of {other.path} were not"
    return (
        f"{said}: a difference would be the labels' and not the models'. Compare runs of the same permute_labels; "
        "those of permuted labels are compared with chance: python -m leukemia_lab.study study=negative_controls"
    )


def _other_split(first: RunResult, run: RunResult) -> str:
    hashes = [first.split_hashes, run.split_hashes]
    pairs = [pair for pair in zip(*hashes, strict=False) if pair[0] != pair[1]]
    one, other = pairs[0] if pairs else (f"{len(hashes[0])} folds", f"{len(hashes[1])} folds")
    return (
        f"{first.path} and {run.path} were made on different splits ({one} and {other}): what one was tested on the "
        "other may have learnt from, and a difference could be the cells'. Train both on one split: write it with "
        "leukemia_lab.split, then protocol=manifest protocol.file=<split> for each; or cross-validate both "
        "(protocol.fold=all) and evaluate them, so that their out-of-fold predictions can be paired by cell"
    )
