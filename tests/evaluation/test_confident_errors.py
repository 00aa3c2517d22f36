from __future__ import annotations

import numpy as np
import pandas as pd

from leukemia_lab.evaluation.confident_errors import confident_errors, decisions, even_sample

CLASSES = ("a", "b", "c")


def a_table(labels: list[str], probs: list[list[float]], groups: list[str | None]) -> pd.DataFrame:
    columns = {f"prob_{name}": [row[k] for row in probs] for k, name in enumerate(CLASSES)}
    cell_ids = [f"cell{place:02}" for place in range(len(labels))]
    cells = {"cell_id": cell_ids, "subject": groups, "group": groups, "label": labels}
    return pd.DataFrame(cells | columns, index=range(100, 100 + len(labels)))  # no part starts at row 0


def test_errors_by_confidence_then_by_name() -> None:
    table = a_table(
        ["a", "b", "c", "a", "b"],
        [[0.9, 0.1, 0], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0, 0.3, 0.7], [0.1, 0.8, 0.1]],
        list("xyzxy"),
    )
    decided = decisions(table, CLASSES)
    assert list(decided["predicted"]) == ["a", "a", "b", "c", "b"]
    np.testing.assert_allclose(decided["prob_true"], [0.9, 0.2, 0.3, 0, 0.8])
    errors = confident_errors(decided, 10)
    assert list(errors["cell_id"]) == ["cell01", "cell03", "cell02"]
    assert list(errors["row"]) == [1, 3, 2]
    assert list(confident_errors(decided, 1)["cell_id"]) == ["cell01"]
    assert list(confident_errors(decided.iloc[::-1], 2)["cell_id"]) == ["cell01", "cell03"]
    assert confident_errors(decided.iloc[[0, 4]], 5).empty


def test_the_sample_is_even_over_classes_and_groups() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["a"] * 8 + ["b"] * 2, 200).tolist()
    groups = [f"{label}{rng.choice([1, 1, 1, 1, 2, 10])}" for label in labels]
    decided = decisions(a_table(labels, rng.dirichlet(np.ones(3), 200).tolist(), groups), CLASSES)
    sample = even_sample(decided, 12)
    assert sample["label"].value_counts().to_dict() == {"a": 6, "b": 6}
    assert set(sample["group"].value_counts()) == {2}
    shuffled = even_sample(decided.sample(frac=1, random_state=1), 12)
    assert list(shuffled["cell_id"]) == list(sample["cell_id"])


def test_the_sample_takes_what_there_is() -> None:
    decided = decisions(a_table(["a", "a", "a", "b"], [[1, 0, 0]] * 4, [None, None, "x", "x"]), CLASSES)
    assert set(even_sample(decided, 64)["cell_id"]) == {"cell00", "cell01", "cell02", "cell03"}
    assert list(even_sample(decided, 3)["cell_id"]) == ["cell00", "cell03", "cell02"]
