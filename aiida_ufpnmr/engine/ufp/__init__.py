"""Ultra-fast potentials: splines, fitting, evaluation."""

from aiida_ufpnmr.engine.ufp.calculator import UltraFastCalculator
from aiida_ufpnmr.engine.ufp.fitting import fit_potential
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.uncertainty import extrapolation_grade, force_uncertainty, uncertainty

__all__ = [
    'PotentialSettings',
    'UltraFastCalculator',
    'UltraFastPotential',
    'extrapolation_grade',
    'fit_potential',
    'force_uncertainty',
    'uncertainty',
]
