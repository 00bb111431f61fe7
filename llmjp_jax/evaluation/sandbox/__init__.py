"""Model-written code and its tests in; a verdict out. The only door through which such code is ever run.

A run is one short-lived Python process of its own, whose kernel filters (seccomp, Landlock where there is one) and
limits stand before the first line of that code. Nothing else of the package starts it by itself: calling `run_code` is
the asking. Not for code that needs packages, threads by the dozen, sockets or other programs.
"""

from llmjp_jax.evaluation.sandbox.protection import protection_layers
from llmjp_jax.evaluation.sandbox.run import Limits, Outcome, run_code, run_many

__all__ = ["Limits", "Outcome", "protection_layers", "run_code", "run_many"]
