"""The answer: decay time and hop rate of one run, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict

from aiida_ufpnmr.engine.efg.isotopes import spin_half

DYNAMICS = ('temperature_mean_K', 'temperature_std_K', 'simulated_ps', 'atoms')
CORRELATION = (
    'tau_ns', 'tau_ns_ci95', 'tau_ns_lower_bound', 'verdict', 'reason', 'decay_rate_per_s', 'decay_rate_per_s_ci95',
    'integral_time_ns', 'integral_time_ns_ci95', 'time_to_1_over_e_ns', 'time_to_1_over_e_ns_ci95',
    'gamma', 'plateau', 'amplitude', 'first_lag_ps', 'c_q_mean_khz', 'eta_mean', 'omega_q_std_khz', 'ions',
)  # fmt: skip
HOPS = ('hop_rate_per_s', 'hop_rate_per_s_ci95', 'hop_rate_corrected', 'hops')
MSD = ('diffusion_coefficient_cm2_per_s', 'diffusion_coefficient_cm2_per_s_ci95')


#: Quantities that are only as good as a verdict: the verdict's key, and its value where they hold.
CLAIMS = {'hop_rate_per_s': ('hops_verdict', 'hops'), 'diffusion_coefficient_cm2_per_s': ('msd_verdict', 'diffusion')}
#: The verdict of an answer without any correlation function.
NO_EFG = 'no EFG'


def speaks_against(key: str, values: Mapping[str, Any]) -> str:
    """The verdict among ``values`` that takes a quantity back; empty where there is none."""
    verdict_key, claim = CLAIMS.get(key, ('', ''))
    verdict = values.get(verdict_key) or claim
    return '' if verdict == claim else verdict


@calcfunction
def summarise(md: Dict, msd: Dict, hops: Dict, acf: Dict | None = None) -> Dict:
    """Decay time of the powder-averaged quadrupolar frequency, hop rate and diffusion coefficient of one trajectory.

    Takes the ``results`` of the four calculations and keeps their keys, units included; of three, where the ions have
    no EFG that NMR could see, which the verdict says then.
    """
    summary: dict[str, Any] = {}
    for source, keys in ((md, DYNAMICS), (acf, CORRELATION), (hops, HOPS), (msd, MSD)):
        results = {} if source is None else source.get_dict()
        summary.update({key: results[key] for key in keys if key in results})
    if acf is None:
        element = hops.get_dict()['species']
        isotope = spin_half(element)
        none = f'{isotope} has spin 1/2 and no quadrupole moment' if isotope else f'no model of the EFG of {element}'
        summary.update({'verdict': NO_EFG, 'reason': f'{none}; hops and diffusion are the answer'})
    verdicts = {'hops_verdict': hops.get_dict().get('verdict'), 'msd_verdict': msd.get_dict().get('verdict')}
    summary.update({key: verdict for key, verdict in verdicts.items() if verdict})
    return Dict(summary)
