"""The loop of `selection` as machine code. Imports numba, so it is imported only when it runs."""

from __future__ import annotations

import numpy as np

from llmjp_jax.corpus.dedup.machine_code import compiled


@compiled
def select_pairs(later, earlier, removed_bits):
    deciding = np.zeros(len(later), np.bool_)
    for pair in range(len(later)):
        a, b = later[pair], earlier[pair]
        gone_a = removed_bits[a >> 3] >> (a & 7) & 1
        gone_b = removed_bits[b >> 3] >> (b & 7) & 1
        if not gone_a and not gone_b:
            removed_bits[a >> 3] |= np.uint8(1 << (a & 7))
            deciding[pair] = True
    return deciding
