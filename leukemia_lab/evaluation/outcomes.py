"""The predictions of one part as arrays: what metrics, intervals and comparisons compute with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import Floats, Ints, positive_index, truth_and_probs


@dataclass(frozen=True)
class Outcomes:
    """n cells of K classes in G groups.

    `truth` [n] are class indices, `probs` and `logits` are [n, K], `groups` [n] counts 0 to G - 1 in the order of
    `group_names`. Where any cell has no group, or no subject, there are none: `groups` and `group_names` are empty.
    `positive` is the index of the positive class, None with more than two classes.
    """

    class_names: tuple[str, ...]
    positive: int | None
    cell_ids: npt.NDArray[np.object_]
    truth: Ints
    probs: Floats
    logits: Floats
    groups: Ints
    group_names: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame, class_names: Sequence[str], positive: str | None) -> Outcomes:
        """The rows of a predictions table of one part; RunError where it is empty or has other classes."""
        if table.empty:
            raise RunError("there are no predictions in this part. Run again to write them.")
        truth, probs = truth_and_probs(table, class_names)
        groups, names = pd.factorize(table["group"], sort=True)
        # Where no subjects are named, the groups of a split are single cells and their copies.
        known = bool((groups >= 0).all() and table["subject"].notna().all())
        return cls(
            class_names=tuple(class_names),
            positive=positive_index(class_names, positive),
            cell_ids=table["cell_id"].to_numpy(dtype=object),
            truth=truth,
            probs=probs,
            logits=table[[f"logit_{name}" for name in class_names]].to_numpy(dtype=np.float64),
            groups=groups.astype(np.int64) if known else np.empty(0, dtype=np.int64),
            group_names=tuple(map(str, names)) if known else (),
        )

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def n_groups(self) -> int:
        """G; 0 where a cell has no group."""
        return len(self.group_names)

    @cached_property
    def predicted(self) -> Ints:
        """The class of highest probability [n], the first of equals."""
        predicted: Ints = self.probs.argmax(axis=1)
        return predicted

    @cached_property
    def cells_by_group(self) -> Ints:
        """Cells of each group and class [G, K]."""
        return counted(self.groups, self.truth, self.n_groups, self.n_classes).astype(np.int64)

    @cached_property
    def sizes(self) -> Ints:
        """Cells of each group [G]."""
        sizes: Ints = self.cells_by_group.sum(axis=1)
        return sizes

    @cached_property
    def strata(self) -> Ints:
        """For each group its class [G]; where any group has cells of several classes, all are stratum 0."""
        return strata_of(self.cells_by_group)


def strata_of(cells_by_group: Ints | Floats) -> Ints:
    """For each group its class [G], of its cells by class [G, K]; all 0 where any group has several classes."""
    pure = ((cells_by_group > 0).sum(axis=1) == 1).all()
    classes = cells_by_group.argmax(axis=1).astype(np.int64)
    return classes if pure else np.zeros_like(classes)


def counted(rows: Ints, columns: Ints, n_rows: int, n_columns: int, weights: Floats | None = None) -> Floats:
    """How often each pair of row and column occurs (or the sum of its weights) [n_rows, n_columns]."""
    counts = np.bincount(rows * n_columns + columns, weights, minlength=n_rows * n_columns)
    return counts.astype(np.float64).reshape(n_rows, n_columns)
