"""The comparison as a whole: more than two classes, no subjects, many runs; what the terminal shows of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from paired_models import models, tables
from rich.console import Console
from scipy.stats import false_discovery_control

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.comparison import aligned, compare, comparison_document
from leukemia_lab.evaluation.comparison_tables import leaderboard, pair_table
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import NO_GROUPS


def named(drawn: list[Outcomes]) -> dict[str, Outcomes]:
    return {f"r{k}": model for k, model in enumerate(drawn)}


def shown(document: dict[str, Any], table: Any) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(document | {"part": "test", "notes": ["a note"]}))
    return capture.get()


def test_three_classes_have_no_delong() -> None:
    drawn = models(np.random.default_rng(0), [1.0, 2.0], n_groups=(4, 4, 4))
    document = comparison_document(compare(named(drawn), "auroc"))
    (pair,) = json.loads(json.dumps(document, allow_nan=False))["pairs"]
    assert pair["delong"]["p"] is None
    assert "two classes" in pair["delong"]["reason"]
    assert pair["metrics"]["auroc"]["p"] is not None
    assert "no DeLong" in shown(document, pair_table)


def test_without_groups_all_are_alike_and_the_reason_is_shown() -> None:
    drawn = {
        f"r{k}": t.assign(group=None) for k, t in enumerate(tables(np.random.default_rng(1), [0.2, 1.5, 3.0]))
    }
    document = comparison_document(compare(aligned(drawn, ("ALL", "HEM"), "ALL"), "accuracy"))
    json.dumps(document, allow_nan=False)
    assert [run["letters"] for run in document["runs"]] == [["a"]] * 3
    assert [run["name"] for run in document["runs"]] == ["r2", "r1", "r0"]
    printed = shown(document, leaderboard)
    assert "3 pairs without a p-value" in printed
    assert NO_GROUPS in " ".join(printed.split())


def test_many_runs_of_two_kinds_get_two_letters() -> None:
    rng = np.random.default_rng(2)
    drawn = models(rng, [3.0, 0.3, 3.0, 0.3, 3.0], n_groups=(20, 20), cells=(8, 8), shared=0.9)
    found = compare(named(drawn), "auroc")
    document = comparison_document(found)
    letters = {run["name"]: set(run["letters"]) for run in document["runs"]}
    assert letters["r0"] & letters["r2"] & letters["r4"]
    assert letters["r1"] & letters["r3"]
    assert not letters["r0"] & letters["r1"]
    at = METRICS.index("auroc")
    assert (
        found.p_holm[:, at] >= false_discovery_control(found.found.p[:, at]) - 1e-12
    ).all()  # Holm is stricter
    best = document["runs"][0]
    assert best["p_holm_against_best"] is None
    for run in document["runs"][1:]:
        names = {best["name"], run["name"]}
        pair = next(pair for pair in document["pairs"] if {pair["a"], pair["b"]} == names)
        assert run["p_holm_against_best"] == pair["metrics"]["auroc"]["p_holm"]
    assert "10 pairs" in shown(document, leaderboard)


def test_a_metric_that_is_undefined_comes_last() -> None:
    first, second = models(np.random.default_rng(3), [0.1, 0.2])
    never = Outcomes(
        **{name: getattr(first, name) for name in ("class_names", "positive", "cell_ids", "truth", "logits")},
        probs=np.tile([0.1, 0.9], (len(first.truth), 1)),
        groups=first.groups,
        group_names=first.group_names,
    )
    document = comparison_document(compare(named([never, second]), "precision"))
    assert [run["name"] for run in document["runs"]] == ["r1", "r0"]
    assert document["runs"][1]["metrics"]["precision"]["value"] is None
    assert "n/a" in shown(document, pair_table)


def test_rows_in_any_order_are_paired_by_cell() -> None:
    first, second = tables(np.random.default_rng(4), [1.0, 1.5])
    straight = compare(aligned({"a": first, "b": second}, ("ALL", "HEM"), "ALL"), "auroc")
    shuffled = second.sample(frac=1, random_state=0)
    mixed = compare(aligned({"a": first, "b": shuffled}, ("ALL", "HEM"), "ALL"), "auroc")
    np.testing.assert_array_equal(straight.found.p, mixed.found.p)


def test_one_run_is_refused() -> None:
    with pytest.raises(RunError, match="two or more"):
        compare(named(models(np.random.default_rng(5), [1.0])), "auroc")
