"""Do ions differ in how often they hop, for longer than the trajectory lasts?"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr


def chance_of_equal_mobility(first: np.ndarray, second: np.ndarray) -> float:
    """Chance that ions of one and the same mobility show as much of a difference, by Spearman's rank correlation.

    Bursts, and hops that lead straight back, make the counts of single ions scatter more than those of a Poisson
    process, in each half of the time by itself. Only ions that are mobile for good hop often in both halves.

    Args:
        first, second: (n_ions,) number of hops of each ion in the first and the second half of the time.

    Returns:
        1 where nothing can be said: all counts of a half are equal.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 1.0
    return float(spearmanr(first, second, alternative='greater').pvalue)
