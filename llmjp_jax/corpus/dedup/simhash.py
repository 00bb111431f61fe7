"""Uzushio's near-duplicate rule for paragraphs: a 128-bit SimHash, then one of two checks of the texts.

Source: WorksApplications/uzushio, `DeduplicateParagraphs.scala`, `SimHashProcessor.scala`, `NgramBitSignatures.java`. The rule
and its numbers are Uzushio's; the hash functions are ours, so that single signatures differ and their statistics do
not. Uzushio adds 128 Gaussian numbers an n-gram, we add 128 signs: the expected share of equal bits is the same
function of the angle between two texts' n-gram counts, and it costs a hundredth.

Texts are UTF-16 code units, as Java's are: a length here is Java's `length()`.
"""

from __future__ import annotations

import numpy as np

from llmjp_jax.corpus.dedup.machine_code import compiled, count_ones
from llmjp_jax.corpus.dedup.shingles import mix

SIGNATURE_BITS = 128
MATCHING_BITS = 76  # int(128 * 0.6)
LENGTH_DIFFERENCE = 50
LONG_TEXT = (
    30  # texts whose mean length is above it are compared by n-grams, others by edit distance
)
SHORT_TEXT = 16  # texts up to it have no bigrams in their bitset
LONG_WORDS = 128  # 8192 bits of 3- and 4-grams
UNIGRAM_WORDS = 4
SHORT_WORDS = 12  # 256 bits of unigrams, 512 of bigrams

_SEED = np.uint64(0x9E3779B97F4A7C15)
_NEWLINE = 10
_EVERY_EIGHTH = np.uint64(0x0101010101010101)
_BYTE = np.uint64(0xFF)
_63, _32 = np.uint64(63), np.uint64(32)
_SIX = np.uint64(6)
_ONE = np.uint64(1)


def code_units(text: str) -> np.ndarray:
    """The UTF-16 code units of a text, uint16 [length]."""
    return np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)


def signature(text: str) -> np.ndarray:
    """The SimHash of a text, uint64 [2]: signs of the sum over its 2-, 3- and 4-grams of a random vector of ±1 each.

    N-grams count as often as they occur and do not reach over a newline; a sum of zero gives the bit 0.
    """
    return simhash(code_units(text))


def near_duplicates(first: str, second: str) -> bool:
    """The whole rule: 76 of 128 bits agree, lengths differ by at most 50, and the texts' own check agrees."""
    a, b = code_units(first), code_units(second)
    if matching_bits(simhash(a), simhash(b)) < MATCHING_BITS:
        return False
    return bool(lengths_agree(len(a), len(b)) and texts_agree(a, b))


@compiled
def _add_signs(counts, word, first):
    """Counts the set bits of `word`, eight counters of a byte in each of counts[first : first + 8]."""
    for shift in range(8):
        counts[first + shift] += (word >> np.uint64(shift)) & _EVERY_EIGHTH


@compiled
def simhash(units):
    """The SimHash of UTF-16 code units [length]: uint64 [2], high bits first."""
    packed = np.zeros(16, np.uint64)
    totals = np.zeros(SIGNATURE_BITS, np.int64)
    grams = pending = 0
    for start in range(len(units)):
        state = _SEED
        for width in range(1, 5):
            place = start + width - 1
            if place >= len(units) or units[place] == _NEWLINE:
                break
            state = mix(state ^ np.uint64(units[place]))
            if width < 2:
                continue
            low = mix(state + np.uint64(width))
            high = mix(low ^ _SEED)
            _add_signs(packed, low, 0)
            _add_signs(packed, high, 8)
            grams += 1
            pending += 1
            if pending == 255:
                _unpack(packed, totals)
                pending = 0
    _unpack(packed, totals)
    bits = np.zeros(2, np.uint64)
    for bit in range(SIGNATURE_BITS):
        if 2 * totals[bit] > grams:
            bits[1 - (bit >> 6)] |= _ONE << np.uint64(bit & 63)
    return bits


@compiled
def _unpack(packed, totals):
    for word in range(16):
        for byte in range(8):
            # Word `shift` of a half holds the bits shift, shift + 8, ..., one a byte.
            bit = (word >> 3) * 64 + (word & 7) + 8 * byte
            totals[bit] += np.int64(packed[word] >> np.uint64(8 * byte) & _BYTE)
        packed[word] = 0


@compiled
def matching_bits(first, second):
    """How many of 128 bits two signatures (uint64 [2]) share, ones and zeros both."""
    differing = count_ones(first[0] ^ second[0]) + count_ones(first[1] ^ second[1])
    return SIGNATURE_BITS - np.int64(differing)


@compiled
def lengths_agree(first, second):
    """Lengths differ by at most 50."""
    return abs(first - second) <= LENGTH_DIFFERENCE


@compiled
def is_long_pair(first, second):
    """Which text check two lengths call for: that of long texts where their mean, rounded down, is above 30."""
    return (first + second) // 2 > LONG_TEXT


@compiled
def texts_agree(first, second):
    """The text check that the lengths of two texts (code units) call for."""
    if is_long_pair(len(first), len(second)):
        return long_bitsets_agree(long_bitset(first), long_bitset(second))
    return short_texts_agree(first, second, short_bitset(first), short_bitset(second))


@compiled
def _set_bit(bitset, first, words, state):
    hash = mix(state)
    place = (hash ^ (hash >> _32)) & np.uint64(64 * words - 1)
    bitset[first + np.int64(place >> _SIX)] |= _ONE << (place & _63)


@compiled
def long_bitset(units):
    """The 3- and 4-grams of a text, hashed into 8192 bits: uint64 [128]."""
    bitset = np.zeros(LONG_WORDS, np.uint64)
    for start in range(len(units)):
        state = _SEED
        for width in range(1, 5):
            place = start + width - 1
            if place >= len(units) or units[place] == _NEWLINE:
                break
            state = mix(state ^ np.uint64(units[place]))
            if width >= 3:
                _set_bit(bitset, 0, LONG_WORDS, state + np.uint64(width))
    return bitset


@compiled
def ones(bitset):
    """How many bits of a bitset are set."""
    total = np.int64(0)
    for word in bitset:
        total += np.int64(count_ones(word))
    return total


@compiled
def long_bitsets_agree(first, second):
    """The check of long texts: the Jaccard coefficient of their n-gram bitsets is at least 0.70."""
    return long_bitsets_agree_at(first, second, ones(first) + ones(second))


@compiled
def long_bitsets_agree_at(first, second, total):
    """The same with the number of bits set in both, counted once: `total`.

    With D differing bits the intersection has (total - D) / 2 and the union (total + D) / 2, so that their ratio is at
    least 7/10 where 17 D <= 3 total. D only grows, which ends most comparisons of unlike texts after a few words.
    """
    if total == 0:
        return False
    differing = np.int64(0)
    for word in range(LONG_WORDS):
        differing += np.int64(count_ones(first[word] ^ second[word]))
        if 17 * differing > 3 * total:
            return False
    return True


@compiled
def short_bitset(units):
    """Unigrams hashed into 256 bits and, for texts of more than 16 code units, bigrams into 512 more: uint64 [12]."""
    bitset = np.zeros(SHORT_WORDS, np.uint64)
    for place in range(len(units)):
        state = mix(_SEED ^ np.uint64(units[place]))
        _set_bit(bitset, 0, UNIGRAM_WORDS, state)
        if len(units) > SHORT_TEXT and place + 1 < len(units):
            state = mix(state ^ np.uint64(units[place + 1]))
            _set_bit(bitset, UNIGRAM_WORDS, SHORT_WORDS - UNIGRAM_WORDS, state)
    return bitset


@compiled
def short_overlap_agrees(first, second, bigrams):
    """The first half of the check of short texts: the Jaccard coefficient of their bitsets is at least 0.60.

    `bigrams`: whether both texts have them; where one has none, unigrams alone are compared.
    """
    words = SHORT_WORDS if bigrams else UNIGRAM_WORDS
    common = union = np.int64(0)
    for word in range(words):
        common += np.int64(count_ones(first[word] & second[word]))
        union += np.int64(count_ones(first[word] | second[word]))
    return union > 0 and 5 * common >= 3 * union


@compiled
def levenshtein(first, second):
    """The least number of insertions, deletions and replacements of code units that turns one text into the other."""
    row = np.arange(len(second) + 1)
    for i in range(len(first)):
        diagonal, row[0] = row[0], i + 1
        for j in range(len(second)):
            replaced = diagonal + (first[i] != second[j])
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, diagonal + 1, row[j] + 1)
    return row[len(second)]


@compiled
def edits_agree(first, second):
    """The second half of the check of short texts: edit distance below 0.30 of the mean length, rounded down."""
    return 10 * levenshtein(first, second) < 3 * ((len(first) + len(second)) // 2)


@compiled
def short_texts_agree(first, second, first_bitset, second_bitset):
    """The check of short texts: unigrams and bigrams overlap, and few edits lie between them."""
    bigrams = len(first) > SHORT_TEXT and len(second) > SHORT_TEXT
    if not short_overlap_agrees(first_bitset, second_bitset, bigrams):
        return False
    return edits_agree(first, second)
