"""Models drawn from what labels leave open, and what their answers say together, on record."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, Int

from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.efg.sampling import sampled_efg_models
from aiida_ufpnmr.engine.timeseries.spread import spread
from aiida_ufpnmr.engine.trajectories.spaced import spaced_frames
from aiida_ufpnmr.engine.ufp.sampling import sampled_potentials

#: Quantities of an answer that are compared, with the key of a verdict and what it must say for the quantity to hold.
COMPARED = {
    'tau_ns': ('tau_ns', None),
    'hop_rate_per_s': ('hops_verdict', 'hops'),
    'diffusion_coefficient_cm2_per_s': ('msd_verdict', 'diffusion'),
}


@calcfunction
def drawn_models(
    trajectory: TrajectoryData, frames: Int, seed: Int, potential: PotentialData, **models: EfgModelData
) -> dict[str, Any]:
    """A potential, and an ``efg_model`` where there is one, as far from the fitted ones as these are expected to err.

    How far that is, ``frames`` of a run of the fitted models say.
    """
    with trajectory.as_path() as path:
        structures = spaced_frames(path, frames.value)
    drawn: dict[str, Any] = {
        'potential': (PotentialData, sampled_potentials(potential.load(), structures, [seed.value]))
    }
    if models:
        drawn['efg_model'] = (EfgModelData, sampled_efg_models(models['efg_model'].load(), structures, [seed.value]))
    nodes = {}
    with TemporaryDirectory() as folder:
        for name, (kind, (model,)) in drawn.items():
            path = Path(folder, kind.DEFAULT_FILENAME)
            model.save(path)
            nodes[name] = kind(path)
    return nodes


@calcfunction
def compare_answers(fitted: Dict, number: Int, **drawn: Dict) -> Dict:
    """Each quantity over the answers of ``number`` drawn models, beside that of the fitted ones; see :func:`spread`.

    A run that failed, or whose verdict takes a quantity back, has no answer.
    """
    found: dict[str, Any] = {'number': number.value, 'runs_failed': number.value - len(drawn)}
    answers = [drawn[name].get_dict() for name in sorted(drawn)]
    for key in COMPARED:
        values = [*(_held(key, answer) for answer in answers), *[None] * found['runs_failed']]
        best = _held(key, fitted.get_dict())
        if best is not None or any(value is not None for value in values):
            limits = fitted.get_dict().get(f'{key}_ci95')
            found[key] = {'fitted': best, 'fitted_ci95': limits, **spread(values, limits)}
    return Dict(found)


def _held(key: str, answer: dict[str, Any]) -> float | None:
    """A quantity of an answer; ``None`` where its verdict takes it back."""
    verdict, claim = COMPARED[key]
    return answer.get(key) if claim is None or answer.get(verdict, claim) == claim else None
