"""Which source each training sample comes from: exact proportions over every prefix, from integers alone.

Nothing is read here and nothing is random. Which of a source's windows a sample is, `order.py` and `windows.py` say.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np

_LOOK_BACK = 64  # samples; doubled as often as needed


class Dealing:
    """Deals sources to samples 0, 1, 2 ... so that every prefix has its share of each source, to within one sample.

    Among the first n samples, source t with weight w of the sum W is dealt floor(n w/W) or ceil(n w/W) times. Its j-th
    sample (j from 1) must therefore come after the first floor((j-1) W/w) samples and not later than sample number
    ceil(j W/w). Each sample goes to the source whose next one may come and must come soonest; of two that must come
    equally soon, to the first. With one sample at a time, dealing the earliest deadline first keeps every deadline
    that can be kept, and these always can (Tijdeman, 'The chairman assignment problem', Discrete Mathematics 32, 1980;
    Baruah, Cohen, Plaxton and Varvel, 'Proportionate progress', Algorithmica 15, 1996). For example, weights (2, 1, 1),
    where the samples of source 0 must come by 2, 4, 6, 8 and those of the others by 4, 8:

        sample number          1  2  3  4  5  6  7  8
        source                 0  1  0  2  0  1  0  2
        index in the source    0  0  1  0  2  1  3  1

    Sample 2 cannot be source 0 again, whose second may not come before number 3; of sources 1 and 2, due by 4 both,
    it is the first.

    **From any sample on, without dealing from 0.** What was dealt before n is, for each source, floor(n w/W) or one
    more; how many sources have the one more follows from n. So the state lies between two extremes: the sources with
    the earliest deadlines have it, or those with the latest. Dealing keeps this order: of two states, each with its
    outstanding deadlines sorted, one with none later than the other's stays so. Both extremes are dealt on from a
    little before n; once they agree at n, what lies between them, the true state, is the same. If they do not, the
    start is twice as far back; at multiples of W (the weights without common divisor) all states are one.

    Cost: 0.6 to 2 microseconds a sample when one goes on from the last. To begin at n takes a look back of up to twice
    W/w of the least weight w, or to n - n mod W if that is nearer: 256 samples (0.5 ms) for LLM-jp v2.0's five corpora, 2,048
    (9 ms) for its 73 files, but 130,000 (0.3 s) where a source is 1/130,000 of the whole, and in proportion beyond:
    a source that is dealt a sample in 10^8 makes each far beginning take minutes. Consecutive steps never pay this.

    Args:
      weights: positive integers, as large as one likes.
    """

    def __init__(self, weights: Sequence[int]):
        weights = [int(weight) for weight in weights]
        if not weights or min(weights) < 1:
            raise ValueError(f"weights are {weights}; they must be positive")
        divisor = math.gcd(*weights)
        self.weights = tuple(weight // divisor for weight in weights)
        self.total = sum(self.weights)
        # Where the last dealing stopped, and the counts there.
        self._last = (0, (0,) * len(weights))

    def deal(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The sources of samples first..first+count-1 (from 0), and which of its source's samples each is: int64."""
        at, counts = self._last
        before = counts if at == first else self.counts(first)
        counts = list(before)
        source = np.array(self._go(counts, first, count), np.int64)
        self._last = (first + count, tuple(counts))
        within = np.empty(count, np.int64)
        for t in range(len(self.weights)):
            within[source == t] = np.arange(before[t], counts[t])
        return source, within

    def find(self, source: int, within: np.ndarray) -> np.ndarray:
        """The samples that are numbers `within` (from 0) of a source: the inverse of `deal`, int64 [len(within)]."""
        return np.array([self._find(source, number) for number in within.tolist()], np.int64)

    def counts(self, samples: int) -> tuple[int, ...]:
        """How many of the first `samples` samples each source is dealt."""
        latest_start = samples - samples % self.total
        look_back = _LOOK_BACK
        while True:
            start = max(samples - look_back, latest_start)
            one, other = self._extremes(start)
            self._go(one, start, samples - start)
            self._go(other, start, samples - start)
            if one == other:
                return tuple(one)
            look_back *= 2

    def _find(self, source: int, within: int) -> int:
        # Before this many samples it may not come.
        at = within * self.total // self.weights[source]
        counts = list(self.counts(at))
        missing = within - counts[source]
        while True:
            places = [
                i for i, dealt in enumerate(self._go(counts, at, _LOOK_BACK)) if dealt == source
            ]
            if missing < len(places):
                return at + places[missing]
            missing -= len(places)
            at += _LOOK_BACK

    def _extremes(self, samples: int) -> tuple[list[int], list[int]]:
        """The counts after `samples` samples if the sources with the earliest, and with the latest, deadlines lead."""
        counts = [samples * weight // self.total for weight in self.weights]
        between = [t for t, weight in enumerate(self.weights) if samples * weight % self.total]
        between.sort(key=lambda t: (self._deadline(t, counts[t]), t))
        leading = samples - sum(counts)
        extremes = []
        for leaders in (between[:leading], between[len(between) - leading :]):
            leaders = set(leaders)
            extremes.append([count + (t in leaders) for t, count in enumerate(counts)])
        return extremes[0], extremes[1]

    def _deadline(self, source: int, done: int) -> int:
        """The number of the sample by which a source of which `done` were dealt must be dealt again."""
        return -(-(done + 1) * self.total // self.weights[source])

    def _go(self, counts: list[int], samples: int, count: int) -> list[int]:
        """Deals `count` samples after the first `samples`; changes `counts` to those at the end."""
        total, weights = self.total, self.weights
        waiting = [(done * total // weights[t] + 1, t) for t, done in enumerate(counts)]
        heapq.heapify(waiting)
        ready: list[tuple[int, int]] = []
        dealt = []
        for number in range(samples + 1, samples + count + 1):
            while waiting and waiting[0][0] <= number:
                t = heapq.heappop(waiting)[1]
                heapq.heappush(ready, (-(-(counts[t] + 1) * total // weights[t]), t))
            t = heapq.heappop(ready)[1]
            counts[t] += 1
            heapq.heappush(waiting, (counts[t] * total // weights[t] + 1, t))
            dealt.append(t)
        return dealt
