"""NMR along a trajectory: correlation functions, echoes, and their decay times."""

from aiida_ufpnmr.engine.nmr.echo import powder_directions, powder_echo, spin_alignment_echo
from aiida_ufpnmr.engine.timeseries.correlation import autocorrelation, autocorrelation_per_ion
from aiida_ufpnmr.engine.timeseries.decay import DECAY, NO_DECAY, NO_FORM, DecayFit, fit_decay

__all__ = [
    'DECAY',
    'NO_DECAY',
    'NO_FORM',
    'DecayFit',
    'autocorrelation',
    'autocorrelation_per_ion',
    'fit_decay',
    'powder_directions',
    'powder_echo',
    'spin_alignment_echo',
]
