"""What is looked at now and then while a run goes on, apart from the guards of every step: settings alone."""

from __future__ import annotations

from dataclasses import dataclass

from aiida_ufpnmr.engine.settings import Settings, setting


@dataclass(frozen=True)
class GradeWatch(Settings):
    """A look at the extrapolation grades now and then, at a cost of about one part in a hundred."""

    every: int = setting(
        1000,
        'Steps between two looks at the extrapolation grade, which a potential with a posterior knows; 0 for none.',
        least=0,
        metavar='N',
        option='grade-every',
    )
    limit: float = setting(
        3.0, 'Stop where an atom has an extrapolation grade above this.', above=0, metavar='G', option='grade-limit'
    )


@dataclass(frozen=True)
class UnitWatch(Settings):
    """A comparison of the units and the foreign bonds, by their bonds, with those where the run began."""

    every: int = setting(
        0,
        'Steps between two looks at the units (PS4, P2S7, …) that the structure begins with; the run stops where one '
        'is broken or a foreign bond has formed; 0 for none.',
        least=0,
        metavar='N',
        option='guard-units',
    )
