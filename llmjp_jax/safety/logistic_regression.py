"""Logistic regression on sparse rows, with an L2 penalty, solved to its optimum. It knows nothing of texts."""

from __future__ import annotations

import dataclasses

import numpy as np

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Line:
    """A linear model: p(positive) of a row x is sigmoid(x · weights + bias).

    Attributes:
      weights: [features] float64. bias: log-odds of a row of zeros.
    """

    weights: np.ndarray
    bias: float

    def probabilities(self, rows) -> np.ndarray:
        """p(positive) [rows] of a CSR matrix [rows, features]."""
        return sigmoid(rows @ self.weights + self.bias)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64)))


def log_loss(probabilities: np.ndarray, positive: np.ndarray) -> float:
    """The mean of -log p(truth), in nats."""
    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-np.where(positive, np.log(clipped), np.log1p(-clipped)).mean())


def fit(rows, positive: np.ndarray, penalty: float) -> Line:
    """The weights that minimise sum of -log p(truth) + penalty / 2 * |weights|²; the bias is not penalised.

    The problem is convex and the start is fixed: the same rows give the same weights. Only features that occur in `rows`
    have weights.

    Args:
      rows: scipy CSR matrix [rows, features]. positive: [rows] bool.

    Raises:
      UserError: all rows are positive, or none is.
    """
    from scipy.optimize import minimize

    positive = np.asarray(positive, bool)
    if penalty <= 0:
        raise UserError(f"penalty = {penalty!r} must be more than 0")
    if not 0 < positive.sum() < len(positive):
        raise UserError(
            f"{int(positive.sum())} of {len(positive)} texts are positive; there must be some of both"
        )
    used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]))
    inner, signs, count = rows[:, used].astype(np.float64), np.where(positive, 1.0, -1.0), len(positive)  # fmt: skip
    turned = inner.T.tocsr()

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = point[:-1], point[-1]
        margins = signs * (inner @ weights + bias)
        value = np.logaddexp(0, -margins).sum() + 0.5 * penalty * weights @ weights
        slope = -signs * sigmoid(-margins)
        gradient = np.append(turned @ slope + penalty * weights, slope.sum())
        return value / count, gradient / count

    start = np.zeros(len(used) + 1)
    start[-1] = np.log(positive.sum() / (count - positive.sum()))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "gtol": 1e-6, "ftol": 1e-10}
    )  # fmt: skip
    weights = np.zeros(rows.shape[1])
    weights[used] = found.x[:-1]
    return Line(weights, float(found.x[-1]))
