"""Orientations of EFG tensors on the sphere, with bins of equal area; Harper 2024, Fig. 6.

The principal axes x, y, z are those of |V_zz| ≥ |V_yy| ≥ |V_xx|. They have no sign, so that eight directions are one,
and the maps show the part of the sphere that is left. Bins are equal in cos θ and in φ, which makes their areas equal:
an isotropic sample has density 1 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aiida_ufpnmr.engine.efg.tensors import TINY, principal_frame
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.sums import Group, with_all_ions

#: Frames are thinned until no more tensors than this are looked at.
MOST_TENSORS = 2_000_000
#: Within this of η = 0 or 1 two of the axes are anybody's guess.
MARGIN = 0.1
CONVENTIONS = ('harper', 'ordered')


@dataclass(frozen=True)
class OrientationMap(Record):
    """Density of directions on the sphere, over bins of equal area; 1 where directions are isotropic."""

    density: np.ndarray = quantity('', 'relative density', 'bins in cos θ, bins in φ')
    cos_theta_edges: np.ndarray = quantity('', 'edges of the bins, equally spaced', 'bins + 1')
    phi_edges_rad: np.ndarray = quantity('rad', 'edges of the bins, equally spaced', 'bins + 1')
    tensors: int = quantity('', 'number of tensors counted')
    well_defined_share: float = quantity('', 'share of them whose axes all mean something: η between 0.1 and 0.9')

    def to_dict(self) -> dict:
        theta, phi = self.mode
        numbers = {'mode_density': float(self.density.max()), 'half_area_share': self.half_area}
        return {'mode_theta_degrees': theta, 'mode_phi_degrees': phi, **numbers, **super().to_dict()}

    @property
    def mode(self) -> tuple[float, float]:
        """θ and φ in degrees at the centre of the fullest bin."""
        i, j = np.unravel_index(int(self.density.argmax()), self.density.shape)
        cosine = 0.5 * (self.cos_theta_edges[i] + self.cos_theta_edges[i + 1])
        phi = 0.5 * (self.phi_edges_rad[j] + self.phi_edges_rad[j + 1])
        return float(np.degrees(np.arccos(cosine))), float(np.degrees(phi))

    @property
    def half_area(self) -> float:
        """Smallest share of the area that holds half of the directions: 0.5 if isotropic, 0 for one direction."""
        counts = np.sort(self.density.ravel())[::-1]
        total = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
        return float(np.interp(0.5, total, np.arange(len(total)) / len(counts)))


@dataclass(frozen=True)
class Orientations(Record):
    """Both maps of some ions."""

    field_in_axes: OrientationMap = quantity('', 'field in the principal axes; angles as in field_angles')
    axis_in_cell: OrientationMap = quantity('', 'largest principal axis in Cartesian axes: θ from z, φ from x')


def field_angles(
    tensors: np.ndarray, field=(0.0, 0.0, 1.0), convention: Literal['harper', 'ordered'] = 'harper'
) -> tuple[np.ndarray, np.ndarray]:
    """Polar angles of the field in the principal axes of tensors, θ and φ in [0, π/2], rad, each (...,).

    With them ω_Q = ½ C_Q (3 cos²θ − 1 ∓ η sin²θ cos 2φ). The minus sign of Harper 2024, eqn (2), belongs to φ counted
    from the y axis (``harper``), the plus sign to φ counted from x (``ordered``).

    Args:
        tensors: (..., 3, 3), symmetric and traceless.
        field: direction of the field.
        convention: from which axis φ is counted.

    Raises:
        ValueError: another convention, or a field that is zero.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f'convention must be one of {", ".join(CONVENTIONS)}, not {convention!r}')
    b = np.asarray(field, float)
    if not 0 < np.linalg.norm(b) < np.inf:
        raise ValueError('the field direction must not be zero')
    cosine, phi = _folded(principal_frame(tensors)[1], b / np.linalg.norm(b), convention)
    return np.arccos(np.clip(cosine, 0.0, 1.0)), phi


def _folded(axes: np.ndarray, b: np.ndarray, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """cos θ and φ of a unit vector in principal axes (..., 3, 3), whose signs do not count."""
    x, y, z = np.abs(np.einsum('i,...ij->j...', b, axes))
    return z, np.arctan2(x, y) if convention == 'harper' else np.arctan2(y, x)


def orientation_maps(
    runs: EfgRuns,
    field: tuple[float, float, float] = (0.0, 0.0, 1.0),
    *,
    convention: Literal['harper', 'ordered'] = 'harper',
    bins: int = 30,
    groups: Sequence[Group] = (),
) -> dict[str, Orientations]:
    """Maps of the orientations of all ions (``all``), and of groups of them by name, over all runs.

    Tensors below 1 kHz (in 7Li) have no direction and are left out.

    Args:
        runs: tensors; frames are thinned where there are more than two million tensors.
        field: direction of the field, Cartesian.
        convention: see :func:`field_angles`.
        bins: bins in cos θ from 0 to 1, and in φ for each quarter of a turn.
        groups: sites or ions that get maps of their own.

    Raises:
        InputError: fewer than 2 bins, or no tensor that has a direction.
    """
    if bins < 2:
        raise InputError(f'bins must be at least 2, not {bins}')
    wanted = with_all_ions(groups, runs.lengths, runs.n_ions)
    every = max(1, -(-sum(runs.lengths) * runs.n_ions // MOST_TENSORS))
    cosines, quarter = np.linspace(0.0, 1.0, bins + 1), np.linspace(0.0, np.pi / 2, bins + 1)
    around = np.linspace(-np.pi, np.pi, 4 * bins + 1)
    fields = np.zeros((len(wanted), bins, bins))
    mains = np.zeros((len(wanted), bins, 4 * bins))
    numbers, defined = np.zeros(len(wanted), int), np.zeros(len(wanted), int)
    b = np.asarray(field, float) / np.linalg.norm(field)
    with progress(sum(runs.lengths), 'orientations', 'frame') as bar:
        for run in range(len(runs.runs)):
            for place, part in runs.chunks(run):
                rows = np.arange(-place.start % every, len(part), every)
                values, axes = principal_frame(np.asarray(part[rows], float))
                eta = (values[..., 0] - values[..., 1]) / np.where(values[..., 2] == 0, 1.0, values[..., 2])
                known = np.abs(values[..., 2]) > TINY
                good = known & (eta > MARGIN) & (eta < 1 - MARGIN)
                cosine, phi = _folded(axes, b, convention)
                main = axes[..., 2] * np.where(axes[..., 2, 2] < 0, -1.0, 1.0)[..., None]
                azimuth = np.arctan2(main[..., 1], main[..., 0])
                for n, group in enumerate(wanted):
                    member = group.members[run]
                    here = known & (member if member.ndim == 1 else member[place.start + rows])
                    fields[n] += np.histogram2d(np.minimum(cosine[here], 1.0), phi[here], (cosines, quarter))[0]
                    mains[n] += np.histogram2d(np.minimum(main[here, 2], 1.0), azimuth[here], (cosines, around))[0]
                    numbers[n] += int(here.sum())
                    defined[n] += int((here & good).sum())
                bar.update(len(part))
    if not numbers[0]:
        raise InputError(f'the EFG tensors of {runs.species} are too small to have a direction')

    def density(counts: np.ndarray, phi_edges: np.ndarray, n: int) -> OrientationMap:
        return OrientationMap(
            density=counts[n] / max(counts[n].mean(), 1e-300),
            cos_theta_edges=cosines,
            phi_edges_rad=phi_edges,
            tensors=int(numbers[n]),
            well_defined_share=float(defined[n] / numbers[n]),
        )

    return {
        group.name or 'all': Orientations(
            field_in_axes=density(fields, quarter, n), axis_in_cell=density(mains, around, n)
        )
        for n, group in enumerate(wanted)
        if numbers[n]
    }
