"""Who is in the synthetic data: subjects, their cells, parts, names, twins and looks, all from one seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from leukemia_lab.data.synthetic_cells import SubjectLook
from leukemia_lab.errors import DataError

FOLDS = ("fold_0", "fold_1", "fold_2")
TRAINING, PRELIMINARY = "training", "preliminary"
LABELS = ("all", "hem")

# C-NMC 2019: 28 of 101 subjects and 15 % of the cells are preliminary. ALL are 47 of 73 training subjects
# with 68 % of the training cells, and 13 of 28 preliminary subjects with 65 % of the preliminary cells.
PRELIMINARY_SUBJECTS, PRELIMINARY_CELLS = 0.28, 0.15
ALL_SUBJECTS = {TRAINING: 0.64, PRELIMINARY: 0.46}
ALL_CELLS = {TRAINING: 0.68, PRELIMINARY: 0.65}
LOG_CELLS_SD = 0.85  # of cells a subject: 9 to 757 in C-NMC
TWIN_SHARE = 0.9  # of its source's cells
CELLS_PER_IMAGE = 4.5
MIN_DISTINCT_SUBJECTS = 8  # one a class in each fold and in the preliminary part


@dataclass(frozen=True)
class SyntheticSpec:
    """What is to be drawn; the counts are of both parts, training and preliminary."""

    n_cells: int
    n_subjects: int
    seed: int
    n_twins: int  # subjects whose cells are near copies of another subject's
    subject_effect: float  # 1.0: intraclass correlations as in C-NMC; 0.0: subjects do not differ


@dataclass(frozen=True)
class Subject:
    """One subject name; `source` is the name whose cells a twin repeats."""

    number: int
    name: str
    label: str
    part: str
    n_cells: int
    source: str | None


def check_spec(spec: SyntheticSpec) -> None:
    """Raise DataError with every fault of `spec` at once."""
    faults = []
    if spec.seed < 0:
        faults.append(f"seed is {spec.seed}: give 0 or more")
    if spec.n_twins < 0:
        faults.append(f"n_twins is {spec.n_twins}: give 0 or more")
    if not (math.isfinite(spec.subject_effect) and 0 <= spec.subject_effect <= 2):
        faults.append(f"subject_effect is {spec.subject_effect}: give 0.0 (none) to 2.0, 1.0 is as in C-NMC")
    least = MIN_DISTINCT_SUBJECTS + max(spec.n_twins, 0)
    if spec.n_subjects < least:
        faults.append(
            f"n_subjects is {spec.n_subjects}: give at least {least}, which is {MIN_DISTINCT_SUBJECTS} "
            f"(each class in three folds and the preliminary part) plus n_twins={spec.n_twins}"
        )
    if spec.n_cells < spec.n_subjects:
        faults.append(f"n_cells is {spec.n_cells}: give at least n_subjects={spec.n_subjects}, a cell each")
    if faults:
        raise DataError("Synthetic data cannot be drawn: " + "; ".join(faults) + ".")


def plan_subjects(spec: SyntheticSpec) -> list[Subject]:
    """All subjects of `spec`, sources before their twins. Raises DataError for an impossible spec."""
    check_spec(spec)
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, 0]))
    strata = _strata(spec)
    numbers = {label: iter(rng.permutation(spec.n_subjects) + 1) for label in LABELS}
    subjects: list[Subject] = []
    for stratum in strata:
        prefix = "H" if stratum.label == "hem" else ""
        n_names = stratum.n_distinct + stratum.n_twins
        names = [f"{prefix}{next(numbers[stratum.label])}" for _ in range(n_names)]
        # Twins repeat one of the larger half, so that they have cells to share.
        twin_of = rng.integers(0, (stratum.n_distinct + 1) // 2, stratum.n_twins)
        counts = _cell_counts(stratum.n_cells, stratum.n_distinct, twin_of)
        parts = _folds(counts, twin_of) if stratum.part == TRAINING else [PRELIMINARY] * n_names
        sources = [None] * stratum.n_distinct + [names[i] for i in twin_of]
        for name, part, n_cells, source in zip(names, parts, counts, sources, strict=True):
            subjects.append(Subject(len(subjects), name, stratum.label, part, int(n_cells), source))
    return subjects


@dataclass(frozen=True)
class _Stratum:
    part: str
    label: str
    n_distinct: int
    n_twins: int
    n_cells: int


def _strata(spec: SyntheticSpec) -> list[_Stratum]:
    """Subjects and cells of each part and class. Twins are in training only, ALL and HEM in turn."""
    n_distinct = spec.n_subjects - spec.n_twins
    subjects = _share(PRELIMINARY_SUBJECTS, spec.n_subjects, 2, n_distinct - 2 * len(FOLDS))
    cells = _share(PRELIMINARY_CELLS, spec.n_cells, subjects, spec.n_cells - (spec.n_subjects - subjects))
    strata = []
    for part, n, n_twins, n_cells, least in (
        (TRAINING, n_distinct - subjects, spec.n_twins, spec.n_cells - cells, len(FOLDS)),
        (PRELIMINARY, subjects, 0, cells, 1),
    ):
        n_all, twins_all = _share(ALL_SUBJECTS[part], n, least, n - least), (n_twins + 1) // 2
        n_hem, twins_hem = n - n_all, n_twins - twins_all
        cells_all = _share(ALL_CELLS[part], n_cells, n_all + twins_all, n_cells - (n_hem + twins_hem))
        strata.append(_Stratum(part, "all", n_all, twins_all, cells_all))
        strata.append(_Stratum(part, "hem", n_hem, twins_hem, n_cells - cells_all))
    return strata


def _share(share: float, of: int, low: int, high: int) -> int:
    return min(max(round(share * of), low), high)


def _normal_scores(n: int) -> npt.NDArray[np.float64]:
    """`n` evenly spaced quantiles of the standard normal distribution, falling."""
    return np.array([NormalDist().inv_cdf(1 - (i + 0.5) / n) for i in range(n)])


def _cell_counts(n_cells: int, n_distinct: int, twin_of: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Unequal numbers of cells, at least one each; a twin never has more than its source."""
    weights = np.exp(LOG_CELLS_SD * _normal_scores(n_distinct))
    weights = np.concatenate([weights, TWIN_SHARE * weights[twin_of]])
    quota = (n_cells - weights.size) * weights / weights.sum()
    counts = np.floor(quota).astype(np.int64)
    largest_remainders = np.argsort(counts - quota, kind="stable")[: n_cells - weights.size - counts.sum()]
    counts[largest_remainders] += 1
    return np.asarray(1 + counts)


def _folds(counts: npt.NDArray[np.int64], twin_of: npt.NDArray[np.int64]) -> list[str]:
    """The official fold of each subject: the emptiest so far, for a twin another one than its source's."""
    load = np.zeros(len(FOLDS))
    fold = np.zeros(counts.size, np.int64)
    n_distinct = counts.size - twin_of.size
    # One distinct subject to each fold, then the largest first; a source comes before its twins either way.
    others = len(FOLDS) + np.argsort(-counts[len(FOLDS) :], kind="stable")
    for i in (*range(len(FOLDS)), *others):
        allowed = load.copy()
        if i >= n_distinct:
            allowed[fold[twin_of[i - n_distinct]]] = np.inf
        fold[i] = np.argmin(allowed)
        load[fold[i]] += counts[i]
    return [FOLDS[k] for k in fold]


def subject_looks(spec: SyntheticSpec, subjects: Sequence[Subject]) -> dict[str, SubjectLook]:
    """The look of each subject that is no twin, as deviations in standard deviations between subjects.

    Within each class every trait has mean 0 and standard deviation `subject_effect` over the *cells*, so that
    a few subjects already show the intended intraclass correlation.
    """
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, 1]))
    looks = {}
    for label in LABELS:
        distinct = [s for s in subjects if s.label == label and s.source is None]
        cells = np.array([s.n_cells for s in distinct])
        traits = {
            f.name: _scores_over_cells(cells, rng) * spec.subject_effect
            for f in dataclasses.fields(SubjectLook)
        }
        for i, subject in enumerate(distinct):
            looks[subject.name] = SubjectLook(**{name: float(scores[i]) for name, scores in traits.items()})
    return looks


def _scores_over_cells(cells: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Shuffled normal scores, standardised with each subject weighted by its number of cells."""
    scores = rng.permutation(_normal_scores(cells.size))
    scores -= np.average(scores, weights=cells)
    return np.asarray(scores / np.sqrt(np.average(scores**2, weights=cells)))


def cell_names(spec: SyntheticSpec, subject: Subject) -> list[str]:
    """File names of a subject's cells in order: `UID_<subject>_<image>_<cell>_<label>.bmp`."""
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, 2, subject.number]))
    ends = np.cumsum(rng.geometric(1 / CELLS_PER_IMAGE, subject.n_cells)).clip(max=subject.n_cells)
    sizes = np.diff(np.unique(ends), prepend=0)
    return [
        f"UID_{subject.name}_{image}_{cell}_{subject.label}.bmp"
        for image, size in enumerate(sizes, start=1)
        for cell in range(1, size + 1)
    ]


def twin_pairs(spec: SyntheticSpec) -> list[tuple[str, str]]:
    """The planted truth: (twin, source) subject names. Raises DataError for an impossible spec."""
    return [(s.name, s.source) for s in plan_subjects(spec) if s.source is not None]
