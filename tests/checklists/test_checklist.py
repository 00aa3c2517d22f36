"""Checklists say what the runs' files say, and leave the rest to the authors."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from run_records import answer, files, item, part

from leukemia_lab.checklists.checklist import as_markdown, checklist, rows
from leukemia_lab.checklists.facts import MAX_SENTENCES, Facts, RunFiles, facts_of
from leukemia_lab.checklists.stamps import MEANINGS

# The numbers as they are printed in BMJ 2024;385:e078378, table 2, written down here a second time.
TRIPOD_PARTS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
}
TRIPOD_PARTS |= {27: "abc"}
TRIPOD = [f"{n}{part}" for n in range(1, 28) for part in TRIPOD_PARTS.get(n, " ")]
CLAIM = [str(n) for n in range(1, 45)]


def test_all_items_are_there_with_their_numbers() -> None:
    items = checklist(Facts())
    assert [one.number for one in items if one.checklist == "TRIPOD+AI"] == [
        number.strip() for number in TRIPOD
    ]
    assert [one.number for one in items if one.checklist == "CLAIM"] == CLAIM
    assert len({one.id for one in items}) == len(items) == 52 + 44
    assert {"tripod-ai-12g", "claim-44"} <= {one.id for one in items}


@pytest.mark.parametrize("name", ["TRIPOD+AI", "CLAIM"])
def test_each_item_asks_and_names_only_subjects_that_there_are(name: str) -> None:
    for row in rows(name):
        assert set(row) <= {"number", "section", "asks", "facts", "enough", "question", "left"}, row
        assert set(row["facts"]) <= set(Facts.__dataclass_fields__) - {"incomplete"}, row
        assert all(len(row[key]) > 3 for key in ("section", "asks", "question")), row
        assert row["facts"] or "enough" not in row, row
        assert set(row.get("left", {})) <= set(row["facts"]), row


def test_every_subject_of_the_facts_is_shown_somewhere() -> None:
    shown = {subject for name in ("TRIPOD+AI", "CLAIM") for row in rows(name) for subject in row["facts"]}
    assert shown == set(Facts.__dataclass_fields__) - {"incomplete"}


@pytest.mark.parametrize("runs", [[], [files()], [files(), files(record__identity="other", config__seed=1)]])
def test_no_item_is_empty(runs: list[RunFiles]) -> None:
    for one in checklist(facts_of(runs)):
        assert all(text.strip() and "None" not in text for text in one.facts), one
        assert (one.question is None) == (one.status == "filled"), one
        assert (one.facts == ()) == (one.status == "authors"), one
    assert json.loads(json.dumps([one.as_json() for one in checklist(facts_of(runs))]))


def test_without_runs_all_is_left_to_the_authors() -> None:
    assert {one.status for one in checklist(facts_of([]))} == {"authors"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("tripod-ai-5a", "data set cnmc, fingerprint f1ngerpr1nt"),
        ("tripod-ai-11", "data.bad_files=error"),
        ("tripod-ai-12a", "protocol: name subject_holdout, val_share 0.2, seed 7; split hash 5p11t"),
        ("tripod-ai-12b", "128 × 128 px; Laplacian of Gaussian (mode replace, sigma_px 1.5)"),
        ("tripod-ai-13", "class_weight, focal loss with gamma 2.0"),
        ("tripod-ai-15", "the threshold 0.430, by balanced_accuracy on val"),
        ("tripod-ai-18f", "commit abcdef0"),
        ("tripod-ai-21", "test: 321 cells (221 ALL, 100 HEM), 2 subjects, 21 groups"),
        ("tripod-ai-23a", "auroc 0.700 (0.600–0.750)"),
        ("tripod-ai-23a", "before: ece 0.210; after: ece 0.040"),
        ("tripod-ai-23b", "accuracy by subject: median 0.500, lowest 0.250"),
        ("claim-20", "disjoint by group"),
        ("claim-22", "nets.vgg13 (dropout 0.5)"),
        ("claim-23", "torch 2.14.1"),
        ("claim-23", "processor a processor, device a GPU"),
        ("claim-24", "Random initial weights from seed 0"),
        ("claim-25", "torch.optim.SGD: batch_size 32, lr 0.0123"),
        ("claim-25", "9 of at most 50 epochs"),
        ("claim-26", "best val/loss (epoch 3, from 0)"),
        ("claim-29", "95% intervals by jackknife; the unit is the group"),
        ("claim-32", "the test part was opened 1 time"),
        ("claim-39", "20 (25% of 9 cells), H3 (75% of 36 cells)"),
        ("claim-40", "The test part holds 21 independent groups"),
    ],
)
def test_facts_appear_where_they_are_asked_for(number: str, expected: str) -> None:
    assert expected in answer(number, files())


def test_what_the_records_answer_whole_is_filled_and_the_rest_is_not() -> None:
    items = checklist(facts_of([files()]))
    filled = {one.id for one in items if one.status == "filled"}
    assert {"tripod-ai-12a", "tripod-ai-21", "claim-19", "claim-23", "claim-25", "claim-37"} <= filled
    authors = {one.id for one in items if one.status == "authors"}
    assert {"tripod-ai-17", "tripod-ai-18a", "tripod-ai-14", "claim-13", "claim-33", "claim-44"} <= authors


@pytest.mark.parametrize("stamp", [*MEANINGS, "TEST SEEN 3 TIMES", "A STAMP OF LATER"])
def test_a_stamp_stands_by_the_performance_and_among_the_limits(stamp: str) -> None:
    run = files(record__stamps=[stamp])
    for number in ("tripod-ai-23a", "tripod-ai-26", "claim-37", "claim-40"):
        assert f"[{stamp}]" in answer(number, run), number
        assert f"[{stamp}]" in as_markdown(checklist(facts_of([run, files()])))
        assert f"[{stamp}]" not in answer(number, files())


@pytest.mark.parametrize(
    ("stamp", "number"),
    [
        ("SYNTHETIC", "tripod-ai-5a"),
        ("SYNTHETIC", "claim-7"),
        ("LEAKY", "tripod-ai-12a"),
        ("LEAKY", "claim-20"),
        ("NO SUBJECTS", "claim-7"),
        ("NO SUBJECTS", "claim-20"),
        ("TWINS IGNORED", "claim-20"),
        ("TEST SEEN 2 TIMES", "claim-32"),
        ("DIHEDRAL AVERAGING", "tripod-ai-12g"),
    ],
)
def test_a_stamp_stands_where_its_subject_is_asked_for(stamp: str, number: str) -> None:
    assert f"[{stamp}]" in answer(number, files(metrics__stamps=[stamp]))


@pytest.mark.parametrize("stamp", ["LEAKY", "NO SUBJECTS"])
def test_leaky_parts_are_not_said_to_be_disjoint_by_group(stamp: str) -> None:
    said = answer("claim-20", files(record__stamps=[stamp]))
    assert "disjoint by cells alone" in said
    assert "by group" not in said


def test_an_unopened_test_part_is_no_result() -> None:
    run = files(record__test_looks=0)
    run["metrics"] = {key: value for key, value in run["metrics"].items() if key != "test"}
    said = item("claim-37", run)
    assert said.status == "partly"
    assert "The test part was not opened. val: auroc 0.800" in " ".join(said.facts)
    assert "never opened" in answer("claim-32", run)
    mixed = item("claim-37", files(), run | {"record": run["record"] | {"identity": "second"}})  # type: ignore[operator]
    assert mixed.status == "partly"
    assert any(text.startswith("vgg13-second: The test part was not opened") for text in mixed.facts)
    assert any(text.startswith("vgg13-0123456789ab: test: auroc 0.700") for text in mixed.facts)


def test_points_without_intervals_are_not_filled_in_as_if_they_had_some() -> None:
    bare = {name: metric | {"low": None, "high": None} for name, metric in part(0.7).items()}
    run = files(metrics__test=bare)
    assert item("claim-37", run).status == "partly"
    assert item("claim-29", run).status == "authors"
    assert "point estimates without intervals" in answer("claim-40", run)


def test_an_undefined_metric_is_shown_with_its_reason() -> None:
    undefined = part(0.7) | {"auroc": {"value": None, "low": None, "high": None, "reason": "no cell is ALL"}}
    assert "auroc n/a (no cell is ALL)" in answer("claim-37", files(metrics__test=undefined))


def test_a_classical_baseline_is_told_by_its_search() -> None:
    classifier = {"estimator": {"_target_": "sklearn.svm.SVC"}, "scale": True, "pca": 256, "cv_folds": 5}
    model = {"name": "svm", "features": {"kind": "pixels"}, "classifier": classifier}
    found = {
        "chosen": {"C": 10},
        "search_folds": 4,
        "features": "pixels at 32 px",
        "calibration": "temperature on val",
    }
    run = files(config__model=model, record__model="svm")
    run["record"] = {**run["record"], **found}
    run["metrics"] = {key: value for key, value in run["metrics"].items() if key != "calibration"}
    assert "sklearn.svm.SVC on pixels at 32 px" in answer("claim-22", run)
    assert "settings chosen: C 10" in answer("claim-25", run)
    assert "augment=dihedral" not in answer("claim-25", run)
    assert "focal" not in answer("tripod-ai-13", run)
    assert "Cross-validation by group within the training part, 4 folds" in answer("claim-26", run)
    assert "Calibrated by temperature on val" in answer("tripod-ai-13", run)


def test_runs_that_differ_are_named_and_not_without_end() -> None:
    runs = [files(record__identity=f"id{n}", config__seed=n) for n in range(30)]
    facts = facts_of(runs)
    assert facts.split == facts_of(runs[:1]).split  # what all share stands once
    assert len(facts.initialisation) == MAX_SENTENCES + 1
    assert facts.initialisation[0] == "vgg13-id0: Random initial weights from seed 0"
    assert facts.initialisation[-1] == f"and {30 - MAX_SENTENCES} more, which differ by run"
    assert facts.runs == ("30 runs of vgg13; a median of 61 s each",)


def test_folds_give_all_split_hashes() -> None:
    run = files(record__folds=[{"split_hash": "aaa"}, {"split_hash": "bbb"}])
    assert "split hash aaa, bbb" in answer("tripod-ai-12a", run)


def test_explanations_are_told_where_there_are_some() -> None:
    explained = {"method": "Grad-CAM", "library": "captum", "layer": "conv5", "cells": [{}, {}]}
    shares = {"mass_on_cell": {"median": 0.83}, "area_share": {"median": 0.17}}
    with_some: RunFiles = {**files(), "explained": explained | shares}
    assert (
        "method Grad-CAM, library captum, layer conv5; a median of 83% of its mass lies on the cell; the cell covers a "
        "median of 17% of the picture"
    ) in answer("claim-31", with_some)
    assert item("claim-31", files()).status == "authors"


def test_a_run_without_attribution_says_why_and_names_no_method() -> None:
    reason = "knn is no neural net: it has no layer to look into"
    run: RunFiles = {
        **files(),
        "explained": {"method": "Grad-CAM", "library": "captum", "reason": reason, "cells": [{}]},
    }
    assert answer("claim-31", run) == f"No attribution: {reason}"


@pytest.mark.parametrize(
    ("held", "n_errors", "said"),
    [
        (16, 19, "; of its 19 errors the most confident are shown, at most 12"),
        (16, None, "; of the 16 errors the most confident are shown, at most 12"),
        (12, 12, "; its 12 errors are shown"),
        (1, 1, "; its one error is shown"),
    ],
)
def test_no_more_errors_are_said_to_be_shown_than_are(held: int, n_errors: int | None, said: str) -> None:
    run: RunFiles = {**files(), "explained": {"n_errors": n_errors, "cells": [{}] * held}}
    assert answer("claim-39", run).endswith(said)


def test_how_runs_were_compared_is_answered_where_they_were() -> None:
    how = "AUROC on test: 2 runs compared"
    items = {one.id: one for one in checklist(facts_of([files(), files(record__identity="b")], [how]))}
    assert items["claim-29"].status == "filled"
    assert items["tripod-ai-12e"].question == "Why these measures?"
    assert how in items["claim-29"].facts
    assert how in items["tripod-ai-12e"].facts
    assert item("claim-29", files()).question == rows("CLAIM")[28]["question"]
    assert "how were models compared" in str(item("tripod-ai-12e", files()).question)


def paths(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        if path:
            yield (*path, key)
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


def test_a_record_that_lacks_keys_says_less_and_never_fails() -> None:
    whole = files()
    full = {one.id: one.status for one in checklist(facts_of([whole]))}
    grades = {"authors": 0, "partly": 1, "filled": 2}
    every = [
        path for path in paths(whole) if path[1] != "stamps" and not (path[0] == "metrics" and len(path) > 3)
    ]
    rng = random.Random(0)
    for _ in range(150):
        run = copy.deepcopy(whole)
        for path in rng.sample(every, rng.randint(1, 15)):
            node: Any = run
            for key in path[:-1]:
                node = node.get(key, {})
            node.pop(path[-1], None)
        for one in checklist(facts_of([run])):
            assert all(text.strip() and "None" not in text for text in one.facts), one
            # what the records do not say is not filled in; only `validation` comes where `test` goes
            assert grades[one.status] <= max(grades[full[one.id]], 1), one


def test_markdown_has_a_row_an_item_and_no_broken_cell() -> None:
    text = as_markdown(checklist(facts_of([files(record__split_hash="a|b<script>")])))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 52 + 44 + 2 * 2
    assert {line.replace("\\|", "").count("|") for line in table} == {6}
    assert "a\\|b&lt;script>" in text
    assert "Of 52 items the records answer" in text
