"""Sets of character n-grams (shingles), their MinHash signatures and their Jaccard coefficient, as machine code."""

from __future__ import annotations

import numpy as np

from llmjp_jax.corpus.dedup.machine_code import compiled

_SEED = np.uint64(0x9E3779B97F4A7C15)
# The finaliser of MurmurHash3 with the constants of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches
# every output bit.
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


def code_points(text: str) -> np.ndarray:
    """The Unicode code points of a text, uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@compiled
def mix(value):
    """A 64-bit number, mixed."""
    value = (value ^ (value >> _S30)) * _FACTOR_1
    value = (value ^ (value >> _S27)) * _FACTOR_2
    return value ^ (value >> _S31)


@compiled
def shingle_hashes(characters, order):
    """64-bit hashes of all n-grams of `characters`, in the order of the text, repeats included: uint64 [shingles].

    A text shorter than `order` is one shingle, an empty one has none.
    """
    count = len(characters)
    if count == 0:
        return np.empty(0, np.uint64)
    width = min(order, count)
    hashes = np.empty(count - width + 1, np.uint64)
    for start in range(len(hashes)):
        # Two characters a multiplication; each pair is injective, and `mix` is a bijection of each state.
        state = _SEED + np.uint64(width)
        place = start
        end = start + width
        while place + 1 < end:
            pair = np.uint64(characters[place]) << _S32 | np.uint64(characters[place + 1])
            state = mix(state ^ pair)
            place += 2
        if place < end:
            state = mix(state ^ np.uint64(characters[place]))
        hashes[start] = state
    return hashes


@compiled
def minhash(hashes, multipliers, offsets):
    """MinHash: the least value of `multiplier * hash + offset` mod 2^64 over all shingles, for each function.

    `hashes` uint64 [shingles], at least one; `multipliers` (odd) and `offsets` uint64 [functions]; returns uint64
    [functions]. The hashes are already mixed, so that the linear functions act on numbers without structure.
    """
    functions = len(multipliers)
    least = np.full(functions, np.uint64(0xFFFFFFFFFFFFFFFF))
    for hash in hashes:
        for function in range(functions):
            value = hash * multipliers[function] + offsets[function]
            if value < least[function]:
                least[function] = value
    return least


@compiled
def band_hashes(signature, bands, rows):
    """One 64-bit hash for each band of `rows` values of a signature, the band's number mixed in: uint64 [bands]."""
    hashes = np.empty(bands, np.uint64)
    for band in range(bands):
        state = mix(_SEED ^ np.uint64(band))
        for row in range(rows):
            state = mix(state ^ signature[band * rows + row])
        hashes[band] = state
    return hashes


@compiled
def distinct(hashes):
    """The set of hashes: sorted, without repeats."""
    ordered = np.sort(hashes)
    count = 0
    for place in range(len(ordered)):
        if place == 0 or ordered[place] != ordered[place - 1]:
            ordered[count] = ordered[place]
            count += 1
    return ordered[:count].copy()


@compiled
def jaccard(first, second):
    """The Jaccard coefficient of two sets of hashes, both sorted without repeats; 0 where both are empty."""
    i = j = common = 0
    while i < len(first) and j < len(second):
        a, b = first[i], second[j]
        common += a == b
        i += a <= b
        j += b <= a
    union = len(first) + len(second) - common
    return common / union if union else 0.0


def shingle_set(text: str, order: int) -> np.ndarray:
    """The set of a text's character n-grams as sorted 64-bit hashes.

    Two of the n-grams of a pair of documents fall together with probability n^2 / 2^64, below 10^-12 for documents of
    a thousand characters: their Jaccard coefficient is exact but for that.
    """
    return distinct(shingle_hashes(code_points(text), order))


def hash_functions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(odd multipliers, offsets) of `count` MinHash functions, uint64, the same for the same seed on any machine."""
    # SplitMix64 written out: numpy promises no stable stream for its Generator's methods.
    numbers, state = [], seed
    for _ in range(2 * count):
        state = (state + int(_SEED)) % 2**64
        mixed = (state ^ state >> 30) * int(_FACTOR_1) % 2**64
        mixed = (mixed ^ mixed >> 27) * int(_FACTOR_2) % 2**64
        numbers.append(mixed ^ mixed >> 31)
    values = np.array(numbers, np.uint64)
    return values[:count] | np.uint64(1), values[count:]
