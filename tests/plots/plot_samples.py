"""Data for plots, and every plot drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from leukemia_lab.evaluation.leakage import ARMS, GAPS, Arm, ArmValue, Gap, LeakagePrice
from leukemia_lab.plots import gallery as plots
from leukemia_lab.plots.gallery import Band, Forecasts, Plot, Ranked

N_CELLS = 1867


CLASSES = ("ALL", "HEM")


FIVE = ("lymphoblast", "HEM", "monocyte", "band", "eosinophil")


def sample(n_cells: int = N_CELLS, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    truth = (random.random(n_cells) < 0.35).astype(int)
    blast = 1 / (1 + np.exp(-random.normal(size=n_cells) - 1.5 * (truth == 0)))
    return truth, np.stack([blast, 1 - blast], axis=1)


def many(n_cells: int = 400) -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    truth = random.integers(0, 5, n_cells)
    logits = random.normal(size=(n_cells, 5)) + 2 * np.eye(5)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def forecasts(probs: Any, truth: Any) -> Forecasts:
    return Forecasts(probs.max(axis=1), probs.argmax(axis=1) == truth)


def history(n_epochs: int) -> dict[str, list[float]]:
    epochs = np.arange(n_epochs)
    falling = np.exp(-epochs / 9)
    return {
        "epoch": epochs.tolist(),
        "train/loss": falling.tolist(),
        "val/loss": (falling + 0.1).tolist(),
        "val/auroc": (0.9 - 0.3 * falling).tolist(),
        "val/balanced_accuracy": (0.8 - 0.3 * falling).tolist(),
    }


def subjects(n_subjects: int) -> tuple[list[str], Any, Any, Any, tuple[str, ...]]:
    random = np.random.default_rng(2)
    classes = np.arange(n_subjects) % 3 // 2
    names = [f"H{number}" if classes[number] else f"P{number}" for number in range(n_subjects)]
    return names, random.beta(6, 1.5, n_subjects), random.integers(5, 700, n_subjects), classes, CLASSES


def compared(n_runs: int) -> tuple[list[str], Any, Any]:
    values = np.linspace(0.95, 0.6, n_runs)
    differences = values[:, None] - values[None]
    return [f"run-{run}" for run in range(n_runs)], differences, np.exp(-60 * np.abs(differences))


def price(model: str, *values: float, spread: float | None = 0.03, p_holm: float = 0.01) -> LeakagePrice:
    """A model whose AUROCs are `values`, in the order of ARMS: arms without one are absent, ends without a spread."""

    def ends(value: float) -> tuple[float | None, float | None]:
        return (None, None) if spread is None else (value - spread, value + spread)

    arms: dict[Arm, ArmValue] = {
        arm: ArmValue(value, *ends(value), None) for arm, value in zip(ARMS, values, strict=False)
    }
    known = None if spread is None else p_holm
    gaps = {}
    for first, second in GAPS:
        if {first, second} <= set(arms):
            gap = values[ARMS.index(first)] - values[ARMS.index(second)]
            gaps[first, second] = Gap(first, second, gap, *ends(gap), known, known, *ends(gap), None)
    return LeakagePrice(model, arms, gaps)


def every_plot(prefix: str) -> dict[str, Plot]:
    truth, probs = sample()
    grid = np.linspace(0, 1, 50)
    cells = np.array([[42, 19], [15, 9]])
    names, accuracy, n_cells, classes, _ = subjects(60)
    ranked = [
        Ranked(f"run-{at}", 0.9 - at / 50, 0.8 - at / 50, 0.95, ["SYNTHETIC"] * (at % 2)) for at in range(8)
    ]
    claimed = [plots.ClaimedRow("KNN", 0.912, [plots.Estimate(0.74, 0.7, 0.78), plots.Estimate(None)])]
    shown: dict[str, tuple[Callable[..., Plot], tuple[Any, ...], dict[str, Any]]] = {
        "roc": (plots.roc, (truth, probs, CLASSES, 0), {"threshold": 0.4, "band": Band(grid, grid, grid**0.5)}),
        "pr": (plots.precision_recall, (truth, probs, CLASSES, 0), {"threshold": 0.4}),
        "roc5": (plots.roc, (*many(), FIVE, None), {}),
        "pr5": (plots.precision_recall, (*many(), FIVE, None), {}),
        "reliability": (plots.reliability, (forecasts(probs, truth), forecasts(probs**0.5, truth)), {}),
        "confusion": (plots.confusion, (np.array([[1102, 117], [203, 445]]), CLASSES), {}),
        "curves": (plots.training_curves, (history(30),), {"best_epoch": 22}),
        "subjects": (plots.subject_accuracy, subjects(30), {}),
        "scatter": (plots.subject_scatter, (names, accuracy, 4 * accuracy - 2, n_cells, classes, CLASSES, 0), {}),
        "forest": (plots.forest, (ranked, "auroc"), {"chance": 0.5}),
        "matrix": (plots.comparison_matrix, (*compared(6), "auroc"), {"groups": [[0, 1], [3, 4, 5]]}),
        "seeds": (plots.seeds, ({"cnn": [0.8, 0.9, 0.85], "knn": [0.7]}, "auroc"), {}),
        "attribution": (plots.attribution, (accuracy, accuracy / 2), {}),
        "leakage": (plots.leakage_price, ([price("cnn", 0.93, 0.9, 0.85), price("knn", 0.7, 0.6)],), {}),
        "claims": (plots.claimed_and_ours, (claimed, ["random", "subjects"], "accuracy"), {}),
        "split": (plots.split_counts, (cells, cells // 9, ["train", "val"], CLASSES), {}),
    }  # fmt: skip
    return {
        name: plot(*given, ident=f"{prefix}-{name}", title=f"{name} of test", **options)
        for name, (plot, given, options) in shown.items()
    }
