from __future__ import annotations

from typing import Any

import pytest
from audit_sample import around, fault, pair, sample, twin

from leukemia_lab.auditing.overview import copy_counts, faults_by_kind, worst_first
from leukemia_lab.auditing.verdict import verdict
from leukemia_lab.pages.formats import (
    counted,
    decimal,
    difference,
    estimate,
    expected,
    metric_name,
    moment,
    p_value,
    percent,
    printable,
    signed,
    whole,
)


def sentences(document: dict[str, Any], level: str) -> list[str]:
    return [finding.text for finding in verdict(document) if finding.level == level]


def test_what_must_be_done_stands_first() -> None:
    levels = [finding.level for finding in verdict(sample())]
    assert levels == sorted(levels, key=["act", "know", "fine"].index)
    assert set(levels) == {"act", "know", "fine"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_files": 12532}, "12,532 files were found, but 12,531 are accounted for"),
        ({"files": {"unusable": 12}}, "12 files cannot be used."),
        ({"pairs": [pair(1, "near", 0.0, ["part"])] * 2}, "2 pairs of copies join training and test."),
        ({"pairs": [pair(1, "near", 0.0, ["class"])]}, "1 pair of copies bears two classes."),
        (
            {"groups": [["20", "21"]]},
            "1 group of subject names shares cells, as names of one patient would; 1 crosses the official folds",
        ),
        (
            {"groups": [["1", "2"]]},
            "1 group of subject names shares cells, as names of one patient would; 0 cross the official folds (1",
        ),
        ({"expected": {"agrees": False}}, "The data is not as expected."),
        (
            {"expected": {"manifests": [{"file": "m.csv", "checked": 10, "missing": ["a", "b"]}]}},
            "Manifest m.csv: 10 files checked, 0 with other content, 2 missing.",
        ),
        ({"files": {"unusable": 0}}, "1 fault of label tables or folders"),
        ({"n_cells": 0}, "No cell can be used"),
    ],
)
def test_what_must_be_done(changes: dict[str, Any], said: str) -> None:
    assert any(text.startswith(said) for text in sentences(sample() | changes, "act"))


def test_clean_data_leaves_nothing_to_do() -> None:
    clean: dict[str, Any] = {"n_subjects": 9, "faults": [], "pairs": [], "groups": [], "twins": []}
    clean["expected"] = {"agrees": True, "manifests": [{"file": "m.csv", "checked": 10}]}
    assert sentences(clean, "act") == []
    assert sentences(clean, "fine") == [
        "No file is unusable.",
        "Parts, classes and subjects are as many as expected.",
        "Manifest m.csv: 10 files checked, all equal bit by bit.",
        "No cell is a copy of another.",
        "No two subject names share more cells than chance allows.",
    ]
    assert sentences(clean, "know") == ["Not checked: confounds."]


def test_no_news_is_not_good_news() -> None:
    assert [finding.level for finding in verdict({})] == ["know"]
    assert verdict({})[0].text.startswith("Not checked: faults of files, expected counts, copies")


def test_copies_that_cross_nothing_are_said_to_cross_nothing() -> None:
    document = sample() | {"pairs": [pair(1, "near", 0.0, [])], "pair_counts": {"near": 1}}
    fine = sentences(document, "fine")
    borders = {
        "No pair of copies joins training and test.",
        "No pair of copies bears two classes.",
        "No pair of copies crosses the official folds.",
    }
    assert borders <= set(fine)
    for row in document["inventory"]:
        row |= {"part": "all"}
    assert borders & set(sentences(document, "fine")) == {"No pair of copies bears two classes."}


def test_data_without_subjects_is_said_to_have_none() -> None:
    document = sample() | {"n_subjects": 0, "groups": []}
    assert any(text.startswith("There are no subject names") for text in sentences(document, "know"))
    assert not any("subject names share" in finding.text for finding in verdict(document))


def test_a_feature_no_better_than_chance_is_fine() -> None:
    document = sample()
    constant = {"value": 0.5, "low": None, "high": None, "reason": "constant"}
    document["confounds"]["class"] = {
        "size": {"auroc": around(0.53, 0.05)},
        "file_size": {"auroc": constant},
        "all": {"auroc": around(0.9, 0)},
    }
    said = "No plain feature alone tells the classes apart better than chance does."
    assert said in sentences(document, "fine")
    assert not any("AUROC" in finding.text for finding in verdict(document))


def test_a_feature_well_above_chance_is_worth_a_line_without_proof() -> None:
    document = sample()
    document["confounds"]["class"] = {
        "size": {"auroc": around(0.74, 0.3)},
        "colour": {"auroc": around(0.6, 0.05)},
    }
    assert any(text.startswith("Colour alone tells") for text in sentences(document, "know"))
    document["confounds"]["class"].pop("colour")
    said = "Size alone tells the classes apart with AUROC 0.740 (0.440–1.040): perhaps by chance"
    assert any(text.startswith(said) for text in sentences(document, "know"))


def test_what_nobody_looked_at_is_not_called_fine() -> None:
    document = sample() | {
        "has_pixels": False,
        "n_files": None,
        "files": None,
        "faults": [],
        "fault_counts": {},
    }
    document["expected"] = {"known": False, "agrees": None}
    fine = " ".join(sentences(document, "fine"))
    assert "unusable" not in fine
    assert "accounted" not in fine
    assert "expected" not in fine
    assert any(text.startswith("No image was opened") for text in sentences(document, "know"))


def test_the_strongest_single_feature_is_named() -> None:
    know = sentences(sample(), "know")
    assert "Colour alone names the subject 8.0 times as often as chance." in know
    assert any(text.startswith("Size alone tells the classes apart with AUROC 0.810") for text in know)
    said = "Judged by box side, 7,272 ALL cells of 47 subjects are worth 98 independent ones"
    assert any(text.startswith(said) for text in know)


def test_a_name_kept_apart_is_remembered() -> None:
    document = sample() | {"twins": [twin("1", "2", 3, 0.1, 0.1, "kept apart", [])] * 2}
    assert any(
        text.startswith("2 pairs of subject names are kept apart") for text in sentences(document, "know")
    )


def test_pairs_come_worst_first() -> None:
    borders = [[], ["source"], ["subject"], ["subject", "fold"], ["class"], ["subject", "part"]]
    ordered = worst_first([pair(1, "near", 0.0, crosses) for crosses in borders])
    assert [row["crosses"] for row in ordered] == borders[::-1]


def test_counts_of_copies_by_kind_and_border() -> None:
    pairs = [
        pair(1, "near", 0.0, ["fold", "subject"]),
        pair(2, "near", 0.0, []),
        pair(3, "box", 0.0, ["part"]),
    ]
    document = {"pairs": pairs, "pair_counts": {"near": 5}}
    assert copy_counts(document) == [("near copies", 5, [0, 0, 1, 1, 0], 1), ("box", 1, [1, 0, 0, 0, 0], 0)]


def test_unusable_faults_come_first() -> None:
    faults = [fault("a", "border", True), fault("b", "border", True), fault("c", "truncated", False)]
    found = faults_by_kind({"faults": faults, "fault_counts": {"border": 7}})
    assert [(kind.name, kind.n_files, kind.usable, kind.files) for kind in found] == [
        ("truncated", 1, False, ["c"]),
        ("border", 7, True, ["a", "b"]),
    ]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (whole(12528), "12,528"),
        (whole(0), "0"),
        (whole(None), "n/a"),
        (decimal(1234.5678, 1), "1,234.6"),
        (decimal(0.0), "0.000"),
        (estimate({"value": 0.0, "low": None, "high": None}), "0.000"),
        (estimate({"value": 0.5, "low": 0.0, "high": 1.0}), "0.500 (0.000–1.000)"),
        (estimate({"value": None, "low": 0.1, "high": 0.2}), "n/a"),
        (estimate({"value": 0.1, "low": -0.2, "high": 0.4}), "0.100 (−0.200 to 0.400)"),
        (decimal(-0.0004), "0.000"),
        (decimal(-0.5, 1), "−0.5"),
        (signed(0.02), "+0.020"),
        (signed(-1234.5, 1), "−1,234.5"),
        (signed(-0.0001), "0.000"),
        (signed(None), "n/a"),
        (difference({"value": -0.02, "low": -0.05, "high": 0.01}), "−0.020 (−0.050 to +0.010)"),
        (difference({"value": 0.5, "low": None, "high": None}), "+0.500"),
        (percent(0.975), "97.5 %"),
        (metric_name("auroc"), "AUROC"),
        (metric_name("balanced_accuracy"), "balanced accuracy"),
        (moment("2026-11-22T10:32:18+01:00"), "2026-11-22 09:32 UTC"),
        (moment("today"), "today"),
        (p_value(0.0), "< 1e-300"),
        (p_value(2e-8), "2.0e-08"),
        (p_value(0.0123), "0.012"),
        (expected(0.0), "0.0000"),
        (expected(2e-5), "< 0.0001"),
        (counted(1, "pair"), "1 pair"),
        (counted(1200, "pair"), "1,200 pairs"),
        (printable("é\x1b[31m\u202ea\udcff"), "é\\x1b[31m\\u202ea\\udcff"),
    ],
)
def test_numbers_and_names_in_words(shown: str, wanted: str) -> None:
    assert shown == wanted
