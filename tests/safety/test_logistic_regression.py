import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llmjp_jax.errors import UserError
from llmjp_jax.safety.logistic_regression import fit, log_loss, sigmoid


def problem(seed=0, rows=80, features=6):
    drawn = np.random.default_rng(seed)
    x = drawn.normal(size=(rows, features)) * (drawn.random((rows, features)) < 0.5)
    truth = drawn.normal(size=features)
    return x, drawn.random(rows) < sigmoid(x @ truth - 0.5)


def newton(x, positive, penalty):
    """The same optimum by Newton's method on all parameters."""
    design, y = np.hstack([x, np.ones((len(x), 1))]), positive.astype(float)
    ridge, point = penalty * np.diag([1.0] * x.shape[1] + [0.0]), np.zeros(x.shape[1] + 1)
    for _ in range(60):
        p = sigmoid(design @ point)
        gradient = design.T @ (p - y) + ridge @ point
        hessian = (design.T * (p * (1 - p))) @ design + ridge
        point -= np.linalg.solve(hessian, gradient)
    return point


@pytest.mark.parametrize("penalty", [0.01, 0.3, 10.0])
def test_the_optimum_is_that_of_newton_s_method(penalty):
    x, positive = problem()
    line, expected = fit(csr_matrix(x), positive, penalty), newton(x, positive, penalty)
    assert np.allclose([*line.weights, line.bias], expected, atol=2e-3)


def test_features_that_never_occur_have_no_weight_and_the_same_rows_give_the_same_weights():
    x, positive = problem()
    wide = csr_matrix(np.hstack([np.zeros((80, 3)), x]))
    one, two = fit(wide, positive, 0.1), fit(wide, positive, 0.1)
    assert np.array_equal(one.weights, two.weights) and one.bias == two.bias
    assert (one.weights[:3] == 0).all() and (one.weights[3:] != 0).all()


def test_the_mean_probability_is_the_share_of_positive_rows():
    x, positive = problem(3)
    line = fit(csr_matrix(x), positive, 5.0)
    assert line.probabilities(csr_matrix(x)).mean() == pytest.approx(positive.mean(), abs=1e-4)


def test_rows_of_one_kind_are_an_error():
    for positive in (np.zeros(80, bool), np.ones(80, bool)):
        with pytest.raises(UserError, match="some of both"):
            fit(csr_matrix(problem()[0]), positive, 1.0)


def test_extreme_log_odds_overflow_nowhere():
    with np.errstate(all="raise"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert log_loss(np.array([0.0, 1.0]), np.array([False, True])) == pytest.approx(0, abs=1e-11)
