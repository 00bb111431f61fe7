"""Which processes a run has, in: flags, Slurm, a TPU pod, MPI or a list of hosts. Out: all of them joined in JAX."""

from llmjp_jax.processes.start import check_flags, connect

__all__ = ["check_flags", "connect"]
