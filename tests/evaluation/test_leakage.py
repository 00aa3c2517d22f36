"""The price of leakage against scikit-learn's AUROC fold by fold, recomputation without each group, and known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from paired_models import tables
from sklearn.metrics import roc_auc_score

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation import paired
from leukemia_lab.evaluation.leakage import (
    ARMS,
    GAPS,
    Arm,
    LeakagePrice,
    holm_levels,
    leakage_prices,
    within_folds,
)
from leukemia_lab.evaluation.multiplicity import holm
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import NO_GROUPS

CLASSES = ("ALL", "HEM")


def in_folds(table: pd.DataFrame, n_folds: int, seed: int, by: str | None) -> pd.DataFrame:
    """The table with folds of cells, or of what stands in the column `by`, at random within a class."""
    names = table["cell_id"] if by is None else table[by]
    units = pd.DataFrame({"name": names, "label": table["label"]}).drop_duplicates("name")
    units = units.sample(frac=1, random_state=seed)
    fold = units.groupby("label").cumcount() % n_folds
    of = dict(zip(units["name"], fold, strict=True))
    return table.assign(fold=pd.array([of[name] for name in names], dtype="Int64"))


def drawn(
    seed: int, gaps: Sequence[float], n_groups: Sequence[int] = (6, 5), cells: Sequence[int] = (3, 9)
) -> dict[Arm, pd.DataFrame]:
    """The three arms of one model, whose classes stand `gaps` apart."""
    made = tables(np.random.default_rng(seed), gaps, n_groups=n_groups, cells=cells)
    random, apart, merged = made
    return {
        "random": in_folds(random, 3, seed, None),
        "apart": in_folds(apart, 3, seed, "subject"),
        "merged": in_folds(merged, 3, seed + 1, "group"),
    }


def by_fold(table: pd.DataFrame) -> float:
    """scikit-learn's AUROC of each fold that has both classes, weighted by its pairs."""
    areas, n_pairs = [], []
    for _, rows in table.groupby("fold"):
        truth = (rows["label"] == "ALL").to_numpy()
        if 0 < truth.sum() < len(truth):
            areas.append(roc_auc_score(truth, rows["prob_ALL"]))
            n_pairs.append(truth.sum() * (~truth).sum())
    return float(np.average(areas, weights=n_pairs))


def outcomes_of(table: pd.DataFrame, positive: str | None = "ALL") -> tuple[Outcomes, np.ndarray]:
    names = sorted(table["label"].unique())
    return Outcomes.of(table, names, positive), table["fold"].to_numpy(dtype=np.int64)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_the_area_is_scikit_learns_in_each_fold_weighted_by_pairs(arm: Arm, decimals: int) -> None:
    table = drawn(1, [1.0, 0.7, 0.5])[arm].round({"prob_ALL": decimals})
    table.loc[table["subject"] == "S3", "label"] = "HEM"
    table.loc[table.index[:2], "label"] = "HEM"  # a group of both classes too
    value, without = within_folds(*outcomes_of(table))
    assert value == pytest.approx(by_fold(table), abs=1e-12)
    expected = [by_fold(table[table["group"] != group]) for group in sorted(table["group"].unique())]
    assert without == pytest.approx(expected, abs=1e-12)


def test_scores_of_different_folds_are_never_compared() -> None:
    table = drawn(2, [1.0, 1.0, 1.0])["merged"]
    shifted = table.assign(prob_ALL=table["prob_ALL"] / 4 ** table["fold"].astype(int))
    assert within_folds(*outcomes_of(shifted))[0] == within_folds(*outcomes_of(table))[0]
    assert roc_auc_score(shifted["label"] == "ALL", shifted["prob_ALL"]) < by_fold(table) - 0.05


def test_of_three_classes_it_is_the_mean_of_each_against_the_rest() -> None:
    [table] = tables(np.random.default_rng(3), [1.0], n_groups=(4, 4, 4))
    table = in_folds(table, 2, 0, "group")
    areas = [
        by_fold(
            table.assign(label=np.where(table["label"] == name, "ALL", "HEM"), prob_ALL=table[f"prob_{name}"])
        )
        for name in ("ALL", "HEM", "MID")
    ]
    assert within_folds(*outcomes_of(table, None))[0] == pytest.approx(np.mean(areas), abs=1e-12)


def test_a_gap_is_the_difference_of_its_arms_with_their_jackknife() -> None:
    arms = drawn(4, [2.0, 1.2, 0.8])
    [price] = leakage_prices({"knn": arms}, CLASSES, "ALL")
    assert (price.model, tuple(price.arms), tuple(price.gaps)) == ("knn", ARMS, GAPS)
    for first, second in GAPS:
        gap = price.gaps[first, second]
        one, other = (within_folds(*outcomes_of(arms[arm].sort_values("cell_id"))) for arm in (first, second))
        assert (gap.first, gap.second, gap.reason) == (first, second, None)
        assert gap.value == pytest.approx(one[0] - other[0], abs=1e-12)
        error = 0.0
        for label in CLASSES:  # the closed form of the stratified jackknife
            own = arms["merged"].groupby("group")["label"].first() == label
            without = (one[1] - other[1])[own.to_numpy()]
            error += (len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()
        assert gap.low is not None
        assert gap.high is not None
        assert (gap.high + gap.low) / 2 == pytest.approx(gap.value)
        assert 1.9 < (gap.high - gap.low) / 2 / error**0.5 < 3.2  # a t quantile of 4 to 9 degrees of freedom
    for arm, of_arm in price.arms.items():
        assert of_arm.value == pytest.approx(by_fold(arms[arm]))
        assert of_arm.low is not None
        assert of_arm.high is not None
        assert of_arm.low < of_arm.value < of_arm.high


def test_groups_that_one_arm_joins_are_one_in_all() -> None:
    arms = drawn(5, [1.0, 1.0, 1.0], n_groups=(6, 6))
    joined = arms["merged"].assign(group=arms["merged"]["group"].replace({"S1": "S0"}))
    [apart] = leakage_prices({"knn": arms}, CLASSES, "ALL")
    [merged] = leakage_prices({"knn": {**arms, "merged": joined}}, CLASSES, "ALL")
    assert merged.gaps["random", "apart"].value == apart.gaps["random", "apart"].value
    assert merged.gaps["random", "apart"].p != apart.gaps["random", "apart"].p


def test_the_same_predictions_have_no_gap_and_absent_arms_none_at_all() -> None:
    arms = drawn(6, [1.0, 0.5, 0.5])
    [price] = leakage_prices({"knn": {**arms, "apart": arms["merged"]}}, CLASSES, "ALL")
    same = price.gaps["apart", "merged"]
    assert (same.value, same.low, same.high, same.p, same.low_holm, same.high_holm) == (0, 0, 0, 1, 0, 0)
    assert same.reason == paired.SAME
    [price] = leakage_prices({"knn": {"random": arms["random"], "merged": arms["merged"]}}, CLASSES, "ALL")
    assert list(price.gaps) == [("random", "merged")]
    assert price.gaps["random", "merged"].p_holm == price.gaps["random", "merged"].p


def test_without_subjects_there_are_values_and_a_reason() -> None:
    arms = {arm: table.assign(group=None) for arm, table in drawn(7, [1.0, 0.5, 0.5]).items()}
    [price] = leakage_prices({"knn": arms}, CLASSES, "ALL")
    for found in (*price.arms.values(), *price.gaps.values()):
        assert found.value is not None
        assert (found.low, found.high, found.reason) == (None, None, NO_GROUPS)


def test_what_cannot_be_paired_is_refused() -> None:
    arms = drawn(8, [1.0, 0.5, 0.5])
    with pytest.raises(RunError, match="none are given"):
        leakage_prices({}, CLASSES, "ALL")
    with pytest.raises(RunError, match=r"knn \(merged\): not each cell is predicted once in a fold"):
        leakage_prices({"knn": {**arms, "merged": arms["merged"].assign(fold=pd.NA)}}, CLASSES, "ALL")
    with pytest.raises(RunError, match=r"knn \(random\) and knn \(merged\) cannot be paired: 1 cells"):
        leakage_prices({"knn": {**arms, "merged": arms["merged"][1:]}}, CLASSES, "ALL")


def test_holms_intervals_exclude_zero_if_and_only_if_holm_rejects() -> None:
    rng = np.random.default_rng(9)
    for _ in range(200):
        p = rng.beta(0.3, 3, size=rng.integers(1, 9))
        p[rng.random(len(p)) < 0.1] = np.nan
        with np.errstate(invalid="ignore"):
            assert ((p <= 1 - holm_levels(p, 0.95)) == (holm(p) <= 0.05)).all()
    p = np.array([0.03, 0.001, 0.04])
    assert holm_levels(p, 0.95) == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 3, 1 - 0.05 / 2])


def rejected(prices: Sequence[LeakagePrice]) -> list[bool]:
    """Whether 0 lies outside the interval of each gap, and last whether it does so of any adjusted one."""
    gaps = [gap for price in prices for gap in price.gaps.values()]
    found = [not gap.low <= 0 <= gap.high for gap in gaps if gap.low is not None and gap.high is not None]
    ends = [(gap.low_holm, gap.high_holm) for gap in gaps]
    return [*found, any(not low <= 0 <= high for low, high in ends if low is not None and high is not None)]


def test_where_there_is_no_gap_one_is_seldom_found_and_a_large_one_nearly_always() -> None:
    none = np.array(
        [
            rejected(leakage_prices({"a": drawn(k, [1.5] * 3, (14, 12), (10, 10))}, CLASSES, "ALL"))
            for k in range(80)
        ]
    )
    assert none.shape == (80, 4)
    assert (none[:, :3].mean(axis=0) <= 0.135).all()  # 0.05 and 3.5 standard errors
    assert none[:, 3].mean() <= 0.135
    large = np.array(
        [
            rejected(leakage_prices({"a": drawn(k, [3.0, 3.0, 1.0], (14, 12), (10, 10))}, CLASSES, "ALL"))
            for k in range(20)
        ]
    )
    assert large[:, 0].mean() > 0.9
