"""How the numbers of a report are made, in sentences for a methods section, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from leukemia_lab.evaluation.metrics import ECE_BINS
from leukemia_lab.results.run_result import RunResult

SOURCES = (
    "Brier GW. Verification of forecasts expressed in terms of probability. Monthly Weather Review 1950;78:1–3.",
    "Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378.",
    "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver operating "
    "characteristic curves. Biometrics 1988;44:837–845.",
    "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML 2017.",
    "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 1979;6:65–70.",
    "McNemar Q. Note on the sampling error of the difference between correlated proportions or percentages. "
    "Psychometrika 1947;12:153–157.",
    "Murphy AH. A new vector partition of the probability score. Journal of Applied Meteorology 1973;12:595–600.",
    "Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567–578.",
    "Satterthwaite FE. An approximate distribution of estimates of variance components. Biometrics Bulletin "
    "1946;2:110–114.",
    "Selvaraju RR et al. Grad-CAM: visual explanations from deep networks via gradient-based localization. ICCV 2017.",
    "Shao J, Tu D. The jackknife and bootstrap. Springer 1995.",
    "Tejani AS et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update. Radiology: "
    "Artificial Intelligence 2024;6:e240300.",
    "Wilson EB. Probable inference, the law of succession, and statistical inference. Journal of the American "
    "Statistical Association 1927;22:209–212.",
)


class Compared(Protocol):
    """What the methods text asks of a leaderboard."""

    @property
    def comparison(self) -> Any:
        """The pairs compared, or why there are none."""


def methods(runs: Sequence[RunResult], shown: Sequence[Compared]) -> list[tuple[str, str]]:
    """Headings and paragraphs, of what these runs hold and nothing else."""
    names = [*(key for run in runs for key in run.metrics)]
    said = [("Metrics", _metrics(runs)), ("Intervals", _intervals(runs))]
    if "calibration" in names:
        said.append(("Calibration", CALIBRATION))
    if "operating_point" in names:
        said.append(("Operating point", OPERATING_POINT))
    if not all(isinstance(board.comparison, str) for board in shown):
        said.append(("Comparisons", COMPARISONS))
    said.append(("Selection", SELECTION))
    return said


def _metrics(runs: Sequence[RunResult]) -> str:
    positive = {run.record.get("positive") for run in runs}
    of = (
        f"Sensitivity, specificity, precision, F1, AUROC and AUPRC are of the class {', '.join(map(str, positive))}."
        if None not in positive
        else "Where no class is the positive one, they are macro averages of the classes, each against the rest."
    )
    return (
        f"{of} A cell is taken for its class of highest probability unless a threshold is named. The expected "
        f"calibration error (Guo 2017) has {ECE_BINS} bins of equal width; the Brier score is that of Brier (1950)."
    )


def _intervals(runs: Sequence[RunResult]) -> str:
    kinds = {
        (found.get("method"), found.get("level", 0.95))
        for run in runs
        if (found := run.metrics.get("intervals"))
    }
    if not kinds:
        return "These runs hold no intervals: only point estimates are shown."
    said = []
    for method, level in sorted(kinds, key=str):
        share = f"{100 * level:g} % intervals are by subject, names that share cells taken as one"
        said.append(f"{share}: {JACKKNIFE if method == 'jackknife' else BOOTSTRAP}")
    return " ".join(said)


JACKKNIFE = (
    "a delete-one-subject jackknife stratified by class, on the logit scale (Shao and Tu 1995, chapter 6; Obuchowski "
    "1997 for clustered ROC curves), with Student's quantile at Satterthwaite's (1946) degrees of freedom. At 0 and 1, "
    "where the jackknife has no spread, the bounds are Wilson's (1927) with subjects as the sample. They describe new "
    "subjects scored by the same trained model, not a model trained anew."
)
BOOTSTRAP = (
    "a percentile bootstrap that draws subjects within their class. With few subjects it is too narrow: it covers the "
    "truth less often than it says."
)
CALIBRATION = (
    "Probabilities are recalibrated on the validation part only (temperature scaling, Guo 2017, unless another method "
    "is named) and the result applied unchanged. The Brier score is decomposed into reliability, resolution and "
    "uncertainty (Murphy 1973)."
)
OPERATING_POINT = (
    "The threshold was chosen on validation cells only, by the rule named, and applied to test unchanged."
)
COMPARISONS = (
    "Two runs are compared on the same cells by a paired jackknife over subjects of the difference, with Student's "
    "quantile; p-values within a leaderboard are adjusted by Holm (1979). Runs whose adjusted p-value is not below "
    "one less the level of the intervals (0.05 at 95 %) cannot be told apart, which does not show that they are "
    "equal. McNemar's (1947) and DeLong's (1988) tests stand beside for readers who look for them: both take every "
    "cell for an independent one, which cells of one subject are not, so their p-values are too small."
)
SELECTION = (
    "The test part is opened by a command of its own, and every look is counted. Epochs, settings, temperature and "
    "threshold were chosen without it."
)
