"""How far measured pass rates can be trusted: an interval for one rate, a paired test for a difference.

Both are pure arithmetic on counts.
"""

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution: a 95 % interval has as much on either side."""


def wilson_interval(passed: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a rate, both ends in [0, 1]; at 95 % unless `z` says otherwise.

    Honest near 0 and 1 and for few rows, where the textbook p ± z·sqrt(p(1-p)/n) is not.
    Source: E. B. Wilson (1927), JASA 22:209; recommended by Brown, Cai and DasGupta (2001), Statistical Science 16:101.
    Raises ValueError unless 0 <= passed <= total and total > 0.
    """
    if not 0 <= passed <= total or total == 0:
        raise ValueError(f"{passed} of {total} is no rate")
    rate = passed / total
    scale = 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    low = 0.0 if passed == 0 else max(0.0, centre - half)
    high = 1.0 if passed == total else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class PairedTest:
    """McNemar's test on rows answered twice: only rows whose verdict changed say anything about the difference."""

    gained: int
    lost: int

    @property
    def p_value(self) -> float:
        """Two-sided mid-p: how likely a split at least this uneven is if gains and losses were coin flips.

        p = 2·P(X <= k) - P(X = k), X ~ Binomial(gained + lost, 1/2), k the smaller of the two.
        Source: Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91.
        """
        changed, fewer = self.gained + self.lost, min(self.gained, self.lost)
        ways = below = 1  # C(changed, 0), exactly: 20,000 rows are no trouble for whole numbers
        for i in range(fewer):
            ways = ways * (changed - i) // (i + 1)
            below += ways
        return (2 * below - ways) / 2**changed
