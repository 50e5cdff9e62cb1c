"""Settings of molecular dynamics, each declared once: the ensemble, and how a run is begun, watched and computed.

No kernel is imported here, so that settings are checked at once, also where nothing is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import SHORTEST_TIMESTEP_FS, Settings, setting, time_step_fs

#: No motion of atoms is followed with longer steps.
LONGEST_TIMESTEP_FS = 20.0
#: GPa; beyond it a number can only be a mistake.
LARGEST_PRESSURE_GPA = 1e4
#: What keeps the temperature, and what changes the cell; the first of each where none is named.
THERMOSTATS = 'rescaling', 'langevin', 'nose-hoover'
BAROSTATS = 'isotropic', 'flexible'


@dataclass(frozen=True)
class Conditions(Settings):
    """The ensemble: which one, at what temperature and pressure, and how these are kept.

    Raises:
        InputError: a name that is not known, a number out of range, or a choice that the ensemble has no use for.
    """

    ensemble: Literal['nve', 'nvt', 'npt'] = setting(
        'nvt', 'Constant energy, temperature, or temperature and pressure.'
    )
    timestep_fs: float = setting(
        2.0,
        f'Time step in fs, {SHORTEST_TIMESTEP_FS:g} to {LONGEST_TIMESTEP_FS:g}.',
        parse=time_step_fs,
        most=LONGEST_TIMESTEP_FS,
        metavar='FS',
        option='timestep',
    )
    temperature_K: float = setting(
        300.0,
        'Temperature in K: of the first velocities, and of the thermostat.',
        least=0,
        most=1e5,
        metavar='K',
        option='temperature',
    )
    final_temperature_K: float | None = setting(
        None,
        'Go to this temperature in a straight line until the last step.',
        least=0,
        most=1e5,
        metavar='K',
        option='final-temperature',
    )
    ramp_steps: int = setting(0, 'Step at which the final temperature is reached.', option='')
    thermostat: str | None = setting(
        None, 'What keeps the temperature; rescaling where not given.', choices=THERMOSTATS
    )
    relaxation_fs: float = setting(
        100.0,
        'Relaxation time of the thermostat in fs; the inverse of the friction of langevin.',
        above=0,
        metavar='FS',
        option='relaxation',
    )
    pressure_GPa: float = setting(
        0.0,
        'Pressure in GPa, in the ensemble npt.',
        least=-LARGEST_PRESSURE_GPA,
        most=LARGEST_PRESSURE_GPA,
        metavar='GPa',
        option='pressure',
    )
    barostat: str | None = setting(
        None, 'Whether the shape of the cell changes with its volume; isotropic where not given.', choices=BAROSTATS
    )
    pressure_relaxation_fs: float = setting(
        1000.0, 'Relaxation time of the volume in fs.', above=0, metavar='FS', option='pressure-relaxation'
    )
    bulk_modulus_GPa: float = setting(
        20.0,
        'A guess, in GPa; only the relaxation time of the volume depends on it.',
        above=0,
        metavar='GPa',
        option='bulk-modulus',
    )

    def __post_init__(self):
        super().__post_init__()
        thermal, pressed = self.ensemble != 'nve', self.ensemble == 'npt'
        if thermal and 0.0 in (self.temperature_K, self.final_temperature_K):
            raise InputError(f'temperature must be positive in the ensemble {self.ensemble}, not 0 K')
        for name, needed, known in (('thermostat', thermal, THERMOSTATS), ('barostat', pressed, BAROSTATS)):
            if needed and getattr(self, name) is None:
                object.__setattr__(self, name, known[0])
            elif not needed and getattr(self, name) is not None:
                raise InputError(f'the ensemble {self.ensemble} has no {name}; leave it out or choose another ensemble')
        if self.final_temperature_K is not None:
            if not thermal:
                raise InputError('the ensemble nve has no thermostat that could change the temperature')
            if self.ramp_steps < 1:
                raise InputError('a final temperature needs the number of steps to get there')
        if not pressed and self.pressure_GPa != 0:
            raise InputError(f'the ensemble {self.ensemble} has no barostat to set a pressure; choose npt')

    @property
    def highest_temperature_K(self) -> float:
        """The higher end of a ramp."""
        return max(self.temperature_K, self.final_temperature_K or 0.0)


def read_masses(value: str | Mapping[str, float]) -> dict[str, float]:
    """Masses in amu by chemical symbol, from a mapping or from text such as ``Li=6.015,P=31``."""
    if not isinstance(value, str):
        return dict(value)
    masses = {}
    for part in value.split(','):
        symbol, _, mass = part.partition('=')
        try:
            masses[symbol.strip()] = float(mass)
        except ValueError:
            raise ValueError(f'{part!r} is not like Li=6.015') from None
    return masses


@dataclass(frozen=True)
class MdSettings(Conditions):
    """Settings of :class:`~aiida_ufpnmr.engine.md.Simulation`; those that have an option are those of ``ufpnmr md``."""

    seed: int = setting(0, 'Seed of all that is random: velocities, thermostat and barostat.', least=0)
    masses: dict[str, float] | None = setting(
        None,
        'Masses in amu other than the usual ones, by chemical symbol: Li=6.015,P=31.',
        parse=read_masses,
        metavar='Li=6.015',
        option='mass',
    )
    skin: float = setting(0.7, 'Å that the interaction lists reach beyond the cut-offs.', least=0, option='')
    guard_fraction: float = setting(
        0.9,
        'Stop where two atoms come closer than this share of the shortest distance of their species in the training '
        'data, or than the first knot of the potential.',
        least=0,
        most=1,
        metavar='FRACTION',
    )
    precision: Literal['float64', 'float32'] = setting('float64', 'Precision of the three-body sums.')
    threads: int = setting(
        1,
        'Threads that share the forces, on as many cores as the job has; the same number gives the same bits.',
        least=1,
        metavar='N',
    )
