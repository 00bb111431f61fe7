"""What the tests of running model-written code share: the code that is right, and a kernel with and without Landlock."""

import textwrap

import pytest

from llmjp_jax.evaluation.sandbox import Limits, Outcome, protection, run_code

FAST = Limits(seconds=3.0)
RIGHT = "def double(x):\n    return 2 * x\n"
TESTS = "assert double(2) == 4\nassert double(-1) == -2\n"
# libc's own functions: what the audit hook does not see, and the kernel must stop.
LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"


def run(code: str, limits: Limits = FAST) -> Outcome:
    """The outcome of code that does something first and then, if it still can, passes its tests."""
    return run_code(textwrap.dedent(code) + "\n" + RIGHT, TESTS, limits)


@pytest.fixture(params=["landlock", "seccomp alone"])
def layers(request, monkeypatch):
    """With all that this kernel has, and as on a kernel without Landlock."""
    if request.param == "seccomp alone":
        monkeypatch.setattr(protection, "landlock_abi", lambda: 0)
    else:
        request.getfixturevalue("landlock")
    return request.param


@pytest.fixture
def landlock():
    if protection.landlock_abi() == 0:
        pytest.skip("this kernel or container has no Landlock")
