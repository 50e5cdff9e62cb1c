"""What a run of molecular dynamics writes, and how often: settings alone."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.storage import Storage

#: Expected errors cost ten times what tensors cost, so they are known at one in so many frames.
JUDGED = 100
#: Time between frames where no cadence is given, fs.
FRAME_SPACING_FS = 100.0


def frame_cadence(timestep_fs: float) -> int:
    """Steps between frames where no cadence is given: :data:`FRAME_SPACING_FS` worth of them."""
    return max(1, round(FRAME_SPACING_FS / timestep_fs))


@dataclass(frozen=True)
class Output(Settings):
    """What is written, and how many steps lie between: a cadence that is ``None`` stands for not at all where nothing
    else is said.

    Raises:
        InputError: a cadence below one step.
    """

    every: int = setting(
        MISSING, f'Steps between frames; by default {FRAME_SPACING_FS:g} fs worth of them.', least=1, metavar='N'
    )
    log_every: int | None = setting(
        None,
        'Steps between rows of the log (temperature, energies, pressure); by default as frames.',
        least=1,
        metavar='N',
    )
    efg_every: int | None = setting(
        None, 'Steps between EFG tensors, with a model of them; by default as frames.', least=1, metavar='N'
    )
    efg_uncertainty_every: int | None = setting(
        None,
        'Steps between expected errors and extrapolation grades of the tensors; by default at each '
        f'{JUDGED}th frame with tensors where the model has a posterior, 0 for none.',
        least=0,
        metavar='N',
    )
    velocities: bool = setting(False, 'Write velocities beside the positions, too.')
    velocities_every: int | None = setting(
        None, 'Write velocities, too, with this cadence of their own.', least=1, metavar='N'
    )
    forces_every: int | None = setting(None, 'Write forces, too, with this cadence.', least=1, metavar='N')
    energies_every: int | None = setting(
        None, 'Write the energy of each atom, too, with this cadence.', least=1, metavar='N'
    )
    storage: Storage = Storage()
