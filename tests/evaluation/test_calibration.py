from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.evaluation.calibration import (
    METHODS,
    PARAMETER_BOUND,
    T_BOUNDS,
    Calibration,
    fit_calibration,
    fit_temperature,
    fit_vector,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CASES = [(k, seed) for k in (2, 3, 5) for seed in range(8)]


def random_case(n_classes: int, seed: int, sharpness: float = 2.0) -> tuple[Floats, Ints]:
    """Logits whose true classes are drawn from softmax(logits / sharpness): every class is there."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(scale=1.5, size=(int(rng.integers(80, 300)), n_classes))
    truth = np.array([rng.choice(n_classes, p=p) for p in softmax(logits / sharpness, axis=1)])
    truth[:n_classes] = np.arange(n_classes)
    return logits, truth


def loss(logits: Floats, truth: Ints) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean())


def fitted_by_torch(logits: Floats, truth: Ints, vector: bool) -> tuple[Floats, float]:
    """LBFGS on log T, or on scale and bias, and the loss it ends at."""
    z, y, k = torch.tensor(logits), torch.tensor(truth), logits.shape[1]
    start = [*[1.0] * k, *[0.0] * k] if vector else [0.0]
    parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=3000,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        moved = parameters[:k] * z + parameters[k:] if vector else z / parameters.exp()
        value = torch.nn.functional.cross_entropy(moved, y)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[arg-type]
    return parameters.detach().numpy(), float(closure().detach())


@pytest.mark.parametrize(("n_classes", "seed"), CASES)
def test_temperature_equals_two_other_optimisers(n_classes: int, seed: int) -> None:
    logits, truth = random_case(n_classes, seed)
    found = fit_temperature(logits, truth)
    by_scipy = minimize_scalar(
        lambda log_t: loss(logits / np.exp(log_t), truth), bounds=(-5, 5), options={"xatol": 1e-12}
    )
    assert found.reason is None
    assert found.parameters["temperature"] == pytest.approx(np.exp(by_scipy.x), rel=1e-5)
    by_torch, _ = fitted_by_torch(logits, truth, vector=False)
    assert found.parameters["temperature"] == pytest.approx(np.exp(by_torch[0]), rel=1e-5)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_within_the_sampling_error(true_temperature: float) -> None:
    """60 samples of 1,500 cells: the mean is the truth to within 4 standard errors."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        logits = true_temperature * rng.normal(scale=1.5, size=(1500, 3))
        probs = softmax(logits / true_temperature, axis=1)
        truth = (rng.random((1500, 1)) > probs.cumsum(axis=1)).sum(axis=1).clip(max=2)
        found.append(fit_calibration("temperature", logits, truth).parameters["temperature"])
    log_ratio = np.log(np.array(found) / true_temperature)
    assert abs(log_ratio.mean()) < 4 * log_ratio.std() / np.sqrt(60)
    assert log_ratio.std() < 0.08


@pytest.mark.parametrize(("n_classes", "seed"), CASES[::3])
def test_temperature_keeps_the_class_of_each_cell(n_classes: int, seed: int) -> None:
    logits, truth = random_case(n_classes, seed)
    calibration = fit_calibration("temperature", logits, truth)
    assert (calibration.probs(logits).argmax(axis=1) == logits.argmax(axis=1)).all()
    shifted = logits + np.arange(len(logits))[:, None]
    assert fit_calibration("temperature", shifted, truth).parameters == pytest.approx(calibration.parameters)
    tripled = fit_calibration("temperature", 3 * logits, truth).parameters["temperature"]
    assert tripled == pytest.approx(3 * calibration.parameters["temperature"])


@pytest.mark.parametrize(("n_classes", "seed"), CASES)
def test_vector_scaling_ends_at_the_loss_of_torch(n_classes: int, seed: int) -> None:
    logits, truth = random_case(n_classes, seed)
    expected, least = fitted_by_torch(logits, truth, vector=True)
    calibration = fit_calibration("vector", logits, truth)
    assert loss(np.log(calibration.probs(logits)), truth) == pytest.approx(least, abs=1e-9)
    if n_classes > 2:  # of two classes, many scales and biases give the same probabilities
        assert calibration.parameters["scale"] == pytest.approx(expected[:n_classes], abs=1e-3)
    assert sum(calibration.parameters["bias"]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_vector_scaling_of_two_classes_is_logistic_regression(seed: int) -> None:
    logits, truth = random_case(2, seed)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(logits, truth)
    probs = fit_calibration("vector", logits, truth).probs(logits)
    assert probs == pytest.approx(reference.predict_proba(logits), abs=1e-5)


@pytest.mark.parametrize(("n_classes", "seed"), CASES)
@pytest.mark.parametrize("ties", [False, True])
def test_isotonic_equals_scikit_learn(n_classes: int, seed: int, ties: bool) -> None:
    logits, truth = random_case(n_classes, seed)
    new, _ = random_case(n_classes, seed + 100, sharpness=4)
    logits = np.round(logits) if ties else logits
    probs, new_probs, least = softmax(logits, axis=1), softmax(new, axis=1), 1 / (len(truth) + 2)
    expected = np.stack(
        [
            IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
            .fit(probs[:, k], truth == k)
            .predict(new_probs[:, k])
            for k in range(n_classes)
        ],
        axis=1,
    )
    calibrated = fit_calibration("isotonic", logits, truth).probs(new)
    assert calibrated == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["random", "neighbours", "separated", "huge", "equal"])
def test_probabilities_are_always_probabilities(method: str, n_classes: int, kind: str) -> None:
    logits, truth = random_case(n_classes, 3)
    if kind == "neighbours":  # KNN: shares of 5, their logs clipped
        rng = np.random.default_rng(0)
        shares = rng.multinomial(5, softmax(logits, axis=1)) / 5
        logits = np.log(np.clip(shares, 1e-6, 1))
    logits = {"separated": 4 * np.eye(n_classes)[truth], "huge": logits * 1e4, "equal": 0 * logits}.get(
        kind, logits
    )
    calibration = fit_calibration(method, logits, truth)
    probs = calibration.probs(logits)
    assert np.isfinite(probs).all()
    assert probs.sum(axis=1) == pytest.approx(np.ones(len(probs)), abs=1e-12)
    assert probs.min() >= 0
    if method == "isotonic":
        assert 0 < probs.min() < probs.max() < 1
    if method in ("temperature", "vector", "isotonic") and kind not in ("huge", "separated"):
        assert loss(np.log(probs), truth) <= loss(logits, truth) + 1e-9 or method == "isotonic"


@pytest.mark.parametrize("method", METHODS)
def test_a_description_is_json_and_gives_the_same_probabilities(method: str) -> None:
    logits, truth = random_case(3, 1)
    calibration = fit_calibration(method, logits, truth)
    described: dict[str, Any] = json.loads(json.dumps(calibration.describe(), allow_nan=False))
    assert described["method"] == method
    assert "reason" not in described
    again = Calibration.of(described | {"fitted_on": "val"})
    assert (again.probs(logits) == calibration.probs(logits)).all()
    assert again == calibration


def test_extremes_end_at_documented_bounds_with_a_reason() -> None:
    truth = np.array([0, 1] * 10)
    right = 3.0 * np.eye(2)[truth]
    low, high = T_BOUNDS
    separated = fit_temperature(right, truth)
    assert separated.parameters["temperature"] == low
    assert "every cell is right: T is at its bound 0.01" in str(separated.reason)
    wrong = fit_temperature(-right, truth)
    assert wrong.parameters["temperature"] == high
    assert "no better than chance: T is at its bound 100" in str(wrong.reason)
    small = np.concatenate([1e-4 * right, -1e-4 * right[:4]])
    faint = fit_temperature(small, np.concatenate([truth, truth[:4]]))
    assert faint.parameters["temperature"] == low
    assert "hardly differ" in str(faint.reason)
    equal = fit_temperature(np.full((20, 2), 7.0), truth)
    assert equal.parameters["temperature"] == 1
    assert "equal" in str(equal.reason)
    vector = fit_vector(right, truth)
    assert "every cell is right" in str(vector.reason)
    assert np.abs(vector.parameters["scale"]).max() <= PARAMETER_BOUND


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_classes_without_cells_leave_the_probabilities_as_they_are(method: str) -> None:
    logits, truth = random_case(4, 0)
    alone = fit_calibration(method, logits, np.full(len(truth), 2))
    assert (alone.method, alone.asked) == ("none", method)
    assert alone.reason == "only 1 of 4 classes have cells in the part it is fitted on"
    assert alone.describe() == {"method": "none", "reason": alone.reason, "asked": method}
    assert (alone.probs(logits) == softmax(logits, axis=1)).all()
    three = fit_calibration(method, logits, np.where(truth == 3, 0, truth))
    assert three.method == ("temperature" if method == "temperature" else "none")
    assert np.isfinite(three.probs(logits)).all()


def test_calibration_lowers_the_log_loss_of_new_cells() -> None:
    """Overconfident threefold: all methods help on cells they were not fitted on."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(scale=1.5, size=(4000, 2))
    truth = (rng.random(4000) < softmax(logits / 3, axis=1)[:, 1]).astype(np.int64)
    before = log_loss(truth[2000:], softmax(logits[2000:], axis=1))
    ideal = log_loss(truth[2000:], softmax(logits[2000:] / 3, axis=1))
    for method in ("temperature", "vector", "isotonic"):
        probs = fit_calibration(method, logits[:2000], truth[:2000]).probs(logits[2000:])
        assert log_loss(truth[2000:], probs) < ideal + 0.1 * (before - ideal), method


def test_what_cannot_be_calibrated_is_refused() -> None:
    logits, truth = random_case(2, 0)
    with pytest.raises(ConfigError, match=r"no calibration 'temprature'.*Did you mean temperature\?"):
        fit_calibration("temprature", logits, truth)
    for bad_logits, bad_truth in (
        (logits[:5], truth),
        (logits[:0], truth[:0]),
        (logits, truth + 1),
        (logits[:, :1], 0 * truth),
        (logits[:, 0], truth),
        (np.where(logits > 1, np.nan, logits), truth),
    ):
        with pytest.raises(RunError, match="cannot be calibrated"):
            fit_calibration("temperature", bad_logits, bad_truth)
    three = fit_calibration("vector", *random_case(3, 0))
    with pytest.raises(RunError, match="fitted on 3 classes, these logits have 2"):
        three.probs(logits)
