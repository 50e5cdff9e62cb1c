"""Models drawn from what labels leave open, and what their answers say together, on record."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida.engine import ExitCode, calcfunction
from aiida.orm import Dict, Int

from aiida_ufpnmr.calculations.summarise import speaks_against
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.efg.sampling import sampled_efg_models
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.regression.sampling import FRAMES
from aiida_ufpnmr.engine.timeseries.spread import spread
from aiida_ufpnmr.engine.trajectories.spaced import spaced_frames
from aiida_ufpnmr.engine.ufp.sampling import sampled_potentials

#: Quantities of an answer that are compared.
COMPARED = ('tau_ns', 'hop_rate_per_s', 'diffusion_coefficient_cm2_per_s')


@calcfunction
def drawn_models(
    trajectory: TrajectoryData, number: Int, seed: Int, potential: PotentialData, **models: EfgModelData
) -> dict[str, Any] | ExitCode:
    """Models as far from the fitted ones as these are expected to err along a run of theirs.

    They are ``potential_000`` and so on, and ``efg_model_000`` where there is one. Exit code 410 says why none can be
    drawn.
    """
    with trajectory.as_path() as path:
        structures = spaced_frames(path, FRAMES)
    seeds = range(seed.value, seed.value + number.value)
    drawn: dict[str, Any] = {'potential': (PotentialData, sampled_potentials(potential.load(), structures, seeds))}
    if models:
        drawn['efg_model'] = (EfgModelData, sampled_efg_models(models['efg_model'].load(), structures, seeds))
    nodes = {}
    try:
        with TemporaryDirectory() as folder:
            for name, (kind, found) in drawn.items():
                for place, model in enumerate(found):
                    path = Path(folder, kind.DEFAULT_FILENAME)
                    model.save(path)
                    nodes[f'{name}_{place:03d}'] = kind(path)
    except InputError as error:
        return ExitCode(410, str(error))
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
    return None if speaks_against(key, answer) else answer.get(key)
