"""What decides a barrier: which hops, how they are quenched, and the band between their ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.transport.hops import HopSettings


@dataclass(frozen=True)
class BandSettings(Settings):
    """The quench of both ends, and the band between them."""

    images: int = setting(7, 'Images between the two ends of a hop.', least=3)
    force_eV_per_angstrom: float = setting(
        0.05, 'A band has converged when no force on it is larger, in eV/Å.', above=0, option='force'
    )
    steps: int = setting(500, 'Most steps of a band.', least=1)
    quench_force_eV_per_angstrom: float = setting(
        0.01, 'An end is quenched when no force is larger, in eV/Å.', above=0, option='quench-force'
    )
    quench_steps: int = setting(5000, 'Most steps of a quench.', least=1)
    moved_angstrom: float = setting(
        1.0,
        'An atom this far from where it was, in Å, has moved: the ion must have, and with others a hop is collective.',
        above=0,
        option='moved',
    )


@dataclass(frozen=True)
class BarrierSettings(BandSettings, HopSettings, PathSettings):
    """Choice of the hops of a trajectory, and how their barriers are found."""

    min_length_angstrom: float = setting(1.5, 'Leave out shorter hops, in Å.', least=0, option='min-length')
    max_length_angstrom: float = setting(10.0, 'Leave out longer hops, in Å.', above=0, option='max-length')
    max_hops: int = setting(200, 'Most hops; where there are more, they are drawn at random.', least=1)
    end: Literal['ion', 'frame'] = setting(
        'ion', 'What differs between the ends: the ion alone, or all that moved from the frame before to the one after.'
    )
    seed: int = setting(0, 'Of the draw of hops.', least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.min_length_angstrom >= self.max_length_angstrom:
            raise InputError(
                f'the shortest hop ({self.min_length_angstrom:g} Å) must be shorter than the longest '
                f'({self.max_length_angstrom:g} Å)'
            )
