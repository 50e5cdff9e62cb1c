"""Frames of a run that are labelled to check models, and the errors of the models on them, on record."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict, Int, Str

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.efg.evaluation import evaluation as of_efg_model
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp.evaluation import evaluation as of_potential


@calcfunction
def evenly_spaced(trajectory: TrajectoryData, number: Int, group: Str) -> DatasetData:
    """``number`` frames at equal times, the last among them, or all of fewer; the first of the run is left out."""
    found = []
    with trajectory.as_path() as path, Trajectory(path) as opened:
        frames = range(1, opened.n_frames)
        n = min(number.value, len(frames))
        for frame in [frames[(k + 1) * len(frames) // n - 1] for k in range(n)] or [0]:
            atoms = bare(opened.atoms(frame))
            atoms.wrap()
            atoms.info = {'config_type': group.value}
            found.append(atoms)
    return DatasetData.of(found)


@calcfunction
def errors_of_models(dataset: DatasetData, potential: PotentialData, **models: EfgModelData) -> dict[str, Dict]:
    """Errors of a potential, and of an ``efg_model`` where there is one, on labelled structures."""
    labels = dataset.get_dataset()
    errors = {'potential_errors': Dict(of_potential(potential.load(), labels))}
    if models:
        errors['efg_errors'] = Dict(of_efg_model(models['efg_model'].load(), labels))
    return errors
