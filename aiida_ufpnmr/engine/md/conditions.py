"""The ensemble of a run: which one, at what temperature and pressure, and how these are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import thermostats
from aiida_ufpnmr.engine.md.barostats import BAROSTATS, INTERVAL, Barostat
from aiida_ufpnmr.engine.md.integrators import Bath
from aiida_ufpnmr.engine.md.thermostats import THERMOSTATS

ENSEMBLES = ('nve', 'nvt', 'npt')


@dataclass(frozen=True)
class Conditions:
    """The ensemble of a run.

    Attributes:
        ensemble: ``nve``, ``nvt`` or ``npt``.
        timestep_fs: fs.
        temperature_K: of the first velocities, and of the thermostat.
        final_temperature_K: the thermostat goes there in a straight line, from step 0 to step ``ramp_steps``.
        ramp_steps: see there.
        thermostat: ``rescaling``, ``langevin`` or ``nose-hoover``; ``None`` stands for the first where one is needed.
        relaxation_fs: relaxation time of the thermostat; the inverse of the friction of ``langevin``.
        pressure_GPa: of the barostat.
        barostat: ``isotropic`` or ``flexible``; ``None`` stands for the first where one is needed.
        pressure_relaxation_fs: relaxation time of the volume.
        bulk_modulus_GPa: a guess; a wrong one makes the relaxation time of the volume wrong, and nothing else.

    Raises:
        InputError: a name that is not known, a number out of range, or a choice that the ensemble has no use for.
    """

    ensemble: str = 'nvt'
    timestep_fs: float = 2.0
    temperature_K: float = 300.0
    final_temperature_K: float | None = None
    ramp_steps: int = 0
    thermostat: str | None = None
    relaxation_fs: float = 100.0
    pressure_GPa: float = 0.0
    barostat: str | None = None
    pressure_relaxation_fs: float = 1000.0
    bulk_modulus_GPa: float = 20.0

    def __post_init__(self):
        _check_choice('ensemble', self.ensemble, ENSEMBLES)
        if not 1e-3 <= self.timestep_fs <= 20:
            raise InputError(f'timestep must lie between 0.001 and 20 fs, not {self.timestep_fs:g}')
        thermal, pressed = self.ensemble != 'nve', self.ensemble == 'npt'
        for value in (self.temperature_K, self.final_temperature_K):
            if value is not None and not (0 <= value < 1e5 and (value > 0 or not thermal)):
                raise InputError(f'temperature must be positive, not {value:g} K')
        for name, needed, known in (('thermostat', thermal, THERMOSTATS), ('barostat', pressed, BAROSTATS)):
            value = getattr(self, name)
            if not needed and value is not None:
                raise InputError(f'the ensemble {self.ensemble} has no {name}; leave it out or choose another ensemble')
            if needed:
                object.__setattr__(self, name, value or next(iter(known)))
                _check_choice(name, getattr(self, name), tuple(known))
        if self.final_temperature_K is not None:
            if not thermal:
                raise InputError('the ensemble nve has no thermostat that could change the temperature')
            if self.ramp_steps < 1:
                raise InputError('a final temperature needs the number of steps to get there')
        if not pressed and self.pressure_GPa != 0:
            raise InputError(f'the ensemble {self.ensemble} has no barostat to set a pressure; choose npt')
        if not abs(self.pressure_GPa) <= 1e4:
            raise InputError(f'pressure must lie between -10000 and 10000 GPa, not {self.pressure_GPa:g}')
        for name in ('relaxation_fs', 'pressure_relaxation_fs', 'bulk_modulus_GPa'):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f'{name} must be positive, not {getattr(self, name):g}')

    @property
    def highest_temperature_K(self) -> float:
        """The higher end of a ramp."""
        return max(self.temperature_K, self.final_temperature_K or 0.0)

    def bath(self, degrees: int) -> Bath:
        """What the compiled steps need to know, for a system of so many degrees of freedom."""
        last = self.temperature_K if self.final_temperature_K is None else self.final_temperature_K
        return Bath(
            timestep=self.timestep_fs,
            thermostat=THERMOSTATS.get(self.thermostat, thermostats.NONE),
            relaxation=self.relaxation_fs,
            degrees=degrees,
            first=units.kB * self.temperature_K,
            last=units.kB * last,
            ramp=max(1.0, float(self.ramp_steps)),
        )

    def cell_driver(self, cell: np.ndarray) -> Barostat | None:
        """What drives a cell that begins as ``cell``; ``None`` where it does not change."""
        if self.barostat is None:
            return None
        stiffness = self.bulk_modulus_GPa * units.GPa * abs(np.linalg.det(cell))
        interval_fs = INTERVAL * self.timestep_fs
        mobility = 2 * interval_fs / (3 * stiffness * self.pressure_relaxation_fs)
        return Barostat(self.barostat, self.pressure_GPa * units.GPa, mobility, cell.copy())


def _check_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f'{what} {value!r} is not known; choose one of {", ".join(known)}')
