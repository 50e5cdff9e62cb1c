"""Whether soft ions have lower barriers than hard ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import is_zipfile

import numpy as np
from scipy.stats import mannwhitneyu

from aiida_ufpnmr.engine.barriers.result import HopBarrier, SoftnessSplit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.hdf5 import open_hdf5

#: What a file of softness has to hold.
ARRAYS = ('softness', 'ions', 'frames')
#: Fewer hops than this in a part say nothing about its median.
FEWEST_HOPS = 3


@dataclass(frozen=True)
class Softness:
    """Softness of ions along a trajectory.

    Attributes:
        softness: (n_frames, n_ions).
        ions: (n_ions,) indices of the atoms.
        frames: (n_frames,) frames of the trajectory, rising.
    """

    softness: np.ndarray
    ions: np.ndarray
    frames: np.ndarray

    @classmethod
    def read(cls, path: str | os.PathLike) -> Softness:
        """Read the three arrays of a NumPy archive (``.npz``) or an HDF5 file of one's own.

        Raises:
            InputError: one is missing, or their shapes do not go together.
        """
        path = check_input(path, 'table of softness')
        try:
            with np.load(path, allow_pickle=False) if is_zipfile(path) else open_hdf5(path) as file:
                found = {name: np.asarray(file[name]) for name in ARRAYS}
        except (KeyError, ValueError, OSError) as error:
            raise InputError(f'{path}: no table of softness with {", ".join(ARRAYS)} ({error})') from error
        shape = len(found['frames']), len(found['ions'])
        if found['softness'].shape != shape:
            raise InputError(
                f'{path}: softness has the shape {found["softness"].shape}; {shape[0]} frames and {shape[1]} ions '
                f'need {shape}'
            )
        if (np.diff(found['frames']) <= 0).any():
            raise InputError(f'{path}: frames must rise')
        return cls(**found)

    def lies_within(self, n_frames: int, n_atoms: int) -> bool:
        """Whether a trajectory of this size has all these frames and atoms."""
        return all(
            0 <= number.min(initial=0) and number.max(initial=0) < size
            for number, size in ((self.frames, n_frames), (self.ions, n_atoms))
        )

    def of(self, hop: HopBarrier) -> float | None:
        """Softness of the ion in the last frame there is before it hops; ``None`` where the table does not hold it."""
        row = int(np.searchsorted(self.frames, hop.frame_before, side='right')) - 1
        column = np.flatnonzero(self.ions == hop.ion)
        found = float(self.softness[row, column[0]]) if row >= 0 and len(column) else np.nan
        return found if np.isfinite(found) else None


def by_softness(
    barriers: Sequence[HopBarrier], softness: Softness, resamples: int = 1000, seed: int = 0, split: float | None = None
) -> SoftnessSplit | None:
    """Forward barriers of soft ions against those of hard ones.

    Intervals are those of a bootstrap over ions, since the hops of one are alike. The p-value is that of the test of
    Mann and Whitney that the barriers of one part are neither higher nor lower; it takes hops for independent.

    Args:
        barriers: those that do not count are left out, and so are hops of ions whose softness is not known.
        softness: of the ions of the same trajectory.
        resamples, seed: of the bootstrap.
        split: softness above which an ion is soft; the median, which makes halves, where not given.

    Returns:
        Both parts; ``None`` where one would be of fewer than three hops.
    """
    known = [(hop, value) for hop in barriers if hop.counts and (value := softness.of(hop)) is not None]
    if len(known) < 2 * FEWEST_HOPS:
        return None
    values = np.array([value for _, value in known])
    forward_eV = np.array([hop.forward_eV for hop, _ in known])
    ions = np.array([hop.ion for hop, _ in known])
    split = float(np.median(values)) if split is None else split
    soft = values > split
    if min(soft.sum(), (~soft).sum()) < FEWEST_HOPS:
        return None
    members = [np.flatnonzero(ions == ion) for ion in np.unique(ions)]
    rng = np.random.default_rng(seed)
    medians = np.full((resamples, 3), np.nan)
    for n in range(resamples):
        drawn = np.concatenate([members[m] for m in rng.integers(len(members), size=len(members))])
        if soft[drawn].any() and not soft[drawn].all():
            low, high = np.median(forward_eV[drawn][soft[drawn]]), np.median(forward_eV[drawn][~soft[drawn]])
            medians[n] = low, high, low - high
    limits = np.nanquantile(medians, [0.025, 0.975], axis=0)
    soft_median, hard_median = float(np.median(forward_eV[soft])), float(np.median(forward_eV[~soft]))
    return SoftnessSplit(
        split=split,
        soft_hops=int(soft.sum()),
        hard_hops=int((~soft).sum()),
        soft_median_eV=soft_median,
        soft_median_eV_ci95=_pair(limits[:, 0]),
        hard_median_eV=hard_median,
        hard_median_eV_ci95=_pair(limits[:, 1]),
        difference_eV=soft_median - hard_median,
        difference_eV_ci95=_pair(limits[:, 2]),
        mann_whitney_p=float(mannwhitneyu(forward_eV[soft], forward_eV[~soft]).pvalue),
    )


def _pair(limits: np.ndarray) -> tuple[float, float]:
    return float(limits[0]), float(limits[1])
