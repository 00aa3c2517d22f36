"""Calibration: maps from logits to probabilities, fitted on the cells of the validation part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, softmax
from sklearn.isotonic import IsotonicRegression

from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.wording import nearest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

T_BOUNDS = (0.01, 100.0)
PARAMETER_BOUND = 100.0  # of the absolute value of each scale and bias of vector scaling
FLAT = 1e-12  # below it logits that differ are float noise


class Fit(NamedTuple):
    """What a fit found; `reason` says why it is not what was asked for, or why it is at a bound."""

    parameters: dict[str, Any]
    reason: str | None = None


@dataclass(frozen=True)
class Calibration:
    """A map from logits [n, K] to probabilities [n, K]; plain data, rebuilt by `Calibration.of`.

    `parameters` by method: none {}; temperature {"temperature": T}; vector {"scale": [K], "bias": [K]};
    isotonic {"knots": [{"prob": [m], "calibrated": [m]}, one a class]}. Where a fit was not possible the
    method is "none", `asked` is the one asked for and `reason` says why.
    """

    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    asked: str | None = None

    @classmethod
    def of(cls, description: dict[str, Any]) -> Calibration:
        """The calibration that `describe` described; keys that no calibration has are left alone."""
        method = _known(description["method"])
        parameters = {key: description[key] for key in PARAMETERS[method]}
        return cls(method, parameters, description.get("reason"), description.get("asked"))

    def describe(self) -> dict[str, Any]:
        """As JSON: `method`, its parameters, and `reason` and `asked` where there are any."""
        notes = {"reason": self.reason, "asked": self.asked}
        said = {key: note for key, note in notes.items() if note is not None}
        return {"method": self.method, **self.parameters, **said}

    def probs(self, logits: Floats) -> Floats:
        """Calibrated probabilities [n, K] of logits [n, K]; each row sums to 1. RunError on other shapes."""
        logits = _as_logits(logits)
        if self.method == "temperature":
            return _softmax(logits / self.parameters["temperature"])
        if self.method not in ("vector", "isotonic"):
            return _softmax(logits)
        fitted = len(self.parameters["scale" if self.method == "vector" else "knots"])
        if logits.shape[1] != fitted:
            raise RunError(
                f"the calibration was fitted on {fitted} classes, these logits have {logits.shape[1]}. "
                "Fit it on logits of the same classes."
            )
        if self.method == "vector":
            return _softmax(logits * np.array(self.parameters["scale"]) + np.array(self.parameters["bias"]))
        columns = zip(_softmax(logits).T, self.parameters["knots"], strict=True)
        raised = np.stack([np.interp(p, knots["prob"], knots["calibrated"]) for p, knots in columns], axis=1)
        calibrated: Floats = raised / raised.sum(axis=1, keepdims=True)
        return calibrated


def fit_calibration(method: str, logits: Floats, truth: Ints) -> Calibration:
    """Fit `method` ("temperature", "vector", "isotonic" or "none") to logits [n, K] and class indices [n].

    Every cell weighs the same, as in the metrics, whatever its subject. Cells of one class alone say nothing
    about calibration, and vector and isotonic need cells of every class: where these are missing the
    probabilities stay the softmax of the logits, with a `reason`. Raises ConfigError on another method,
    RunError on shapes that do not fit, no cells, or logits that are not finite.
    """
    _known(method)
    logits, truth = _as_logits(logits), np.asarray(truth, dtype=np.int64)
    if truth.shape != (len(logits),) or not len(truth) or not np.isin(truth, range(logits.shape[1])).all():
        raise RunError(
            f"{logits.shape} logits and {truth.shape} classes cannot be calibrated: one class index below "
            f"{logits.shape[1]} a cell is needed, and one cell or more. Look at the validation part."
        )
    if method == "none":
        return Calibration("none")
    missing = np.setdiff1d(np.arange(logits.shape[1]), truth)
    if len(np.unique(truth)) == 1 or (len(missing) and method != "temperature"):
        present = len(np.unique(truth))
        reason = f"only {present} of {logits.shape[1]} classes have cells in the part it is fitted on"
        return Calibration("none", {}, reason, asked=method)
    parameters, reason_of_fit = FITS[method](logits, truth)
    return Calibration(method, parameters, reason_of_fit)


def fit_temperature(logits: Floats, truth: Ints) -> Fit:
    """The T of softmax(logits / T) with the least mean log loss (Guo et al. 2017, sec. 4.2); `temperature`.

    The loss is convex in 1/T, so that the root of its derivative is the only minimum; T is searched in
    `T_BOUNDS`. Where the classes are separated perfectly, or the logits are no better than chance, the
    minimum is at infinity and T at a bound, with a reason. Logits that are equal in each cell: T = 1.
    """
    if np.ptp(logits, axis=1).max() < FLAT:
        return Fit({"temperature": 1.0}, "the logits of all classes are equal: no temperature changes them")
    centred = logits - logits[np.arange(len(truth)), truth][:, None]

    def slope(inverse: float) -> float:
        """Derivative of the mean log loss by 1/T: the mean logit expected, less that of the true class."""
        return float((softmax(inverse * centred, axis=1) * centred).sum(axis=1).mean())

    low, high = T_BOUNDS
    if slope(1 / high) >= 0:
        return Fit({"temperature": high}, f"the logits are no better than chance: T is at its bound {high:g}")
    if slope(1 / low) <= 0:
        cause = "every cell is right" if (centred <= 0).all() else "the logits hardly differ"
        return Fit({"temperature": low}, f"{cause}: T is at its bound {low:g}, below which the loss falls on")
    return Fit({"temperature": 1 / float(brentq(slope, 1 / high, 1 / low, xtol=1e-13, rtol=1e-13))})


def fit_vector(logits: Floats, truth: Ints) -> Fit:
    """The `scale` and `bias` [K] of softmax(scale * logits + bias) with the least mean log loss.

    Vector scaling (Guo et al. 2017, sec. 4.2): convex, by L-BFGS-B from scale 1 and bias 0, each within
    +-`PARAMETER_BOUND`. The biases are shifted to a mean of 0, which changes no probability.
    """
    n, n_classes = logits.shape
    hot = np.eye(n_classes)[truth]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scaled = parameters[:n_classes] * logits + parameters[n_classes:]
        error = (softmax(scaled, axis=1) - hot) / n
        value = (logsumexp(scaled, axis=1) - (scaled * hot).sum(axis=1)).mean()
        return float(value), np.concatenate([(error * logits).sum(axis=0), error.sum(axis=0)])

    found = minimize(
        loss,
        np.repeat([1.0, 0.0], n_classes),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-PARAMETER_BOUND, PARAMETER_BOUND)] * (2 * n_classes),
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10},
    )
    scale, bias = found.x[:n_classes], found.x[n_classes:]
    right = ((scale * logits + bias).argmax(axis=1) == truth).all()
    reason = (
        "every cell is right, and the loss falls without end: the search stopped early" if right else None
    )
    return Fit({"scale": scale.tolist(), "bias": (bias - bias.mean()).tolist()}, reason)


def fit_isotonic(logits: Floats, truth: Ints) -> Fit:
    """Each class's probability against the rest made monotone (Zadrozny & Elkan 2002); `knots`.

    scikit-learn's `IsotonicRegression`, linear between its knots and constant outside. Its values are kept
    in [1 / (n + 2), 1 - 1 / (n + 2)], n cells, so that no probability is 0 or 1; `Calibration.probs` then
    divides by their sum over the classes.
    """
    least = 1 / (len(truth) + 2)
    knots = []
    for k, prob in enumerate(_softmax(logits).T):
        fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(prob, truth == k)
        knots.append({"prob": fitted.X_thresholds_.tolist(), "calibrated": fitted.y_thresholds_.tolist()})
    return Fit({"knots": knots})


FITS: dict[str, Callable[[Floats, Ints], Fit]] = {
    "temperature": fit_temperature,
    "vector": fit_vector,
    "isotonic": fit_isotonic,
}
PARAMETERS = {
    "none": (),
    "temperature": ("temperature",),
    "vector": ("scale", "bias"),
    "isotonic": ("knots",),
}
METHODS = tuple(PARAMETERS)


def _known(method: str) -> str:
    if method not in METHODS:
        raise ConfigError(
            f"there is no calibration {method!r}. One of {', '.join(METHODS)}.{nearest(method, METHODS)}"
        )
    return method


def _softmax(logits: Floats) -> Floats:
    probs: Floats = softmax(logits, axis=1)
    return probs


def _as_logits(logits: Floats) -> Floats:
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or logits.shape[1] < 2 or not np.isfinite(logits).all():
        raise RunError(
            f"logits of shape {logits.shape} cannot be calibrated: one row a cell and one column a class are "
            "needed, two classes or more, all of them finite numbers. Look at the predictions table."
        )
    return logits
