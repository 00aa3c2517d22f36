"""Which cells of a predictions table are worth a look: the most confident errors, and an even sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from leukemia_lab.wording import natural


def decisions(table: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """The most probable class of each row of one part's predictions, beside what the table says of it.

    Columns `cell_id, subject, group, label, predicted, prob_predicted, prob_true` and `row`, the place in `table`;
    of equally probable classes the first is predicted.
    """
    probs = table[[f"prob_{name}" for name in class_names]].to_numpy(dtype=np.float64)
    names = np.asarray(class_names, dtype=object)
    truth = pd.Index(class_names).get_indexer(pd.Index(table["label"]))
    best, rows = probs.argmax(axis=1), np.arange(len(table))
    decided = table.loc[:, ["cell_id", "subject", "group", "label"]].reset_index(drop=True)
    return decided.assign(
        predicted=names[best], prob_predicted=probs[rows, best], prob_true=probs[rows, truth], row=rows
    )


def confident_errors(decided: pd.DataFrame, limit: int) -> pd.DataFrame:
    """The `limit` rows of `decisions` that are wrong with the highest probability, worst first, ties by cell_id."""
    wrong = decided[decided["label"] != decided["predicted"]]
    return wrong.sort_values(["prob_predicted", "cell_id"], ascending=[False, True]).head(limit)


def even_sample(decided: pd.DataFrame, limit: int) -> pd.DataFrame:
    """`limit` rows of `decisions`, as even over classes and their groups as the cells allow; the same every time.

    Classes take turns, and within a class its groups do, each with its cells by cell_id. A cell without a group
    belongs to a group of such cells.
    """
    ordered = decided.assign(group=decided["group"].astype("string").fillna("")).sort_values("cell_id")
    names = sorted(set(ordered["group"]), key=natural)
    ordered["place"] = ordered["group"].map({name: place for place, name in enumerate(names)})
    ordered["turn"] = ordered.groupby(["label", "group"]).cumcount()
    ordered = ordered.sort_values(["turn", "place"], kind="stable")
    ordered["turn"] = ordered.groupby("label").cumcount()
    chosen = ordered.sort_values(["turn", "label"], kind="stable").head(limit)
    return decided.loc[chosen.index]
