"""Frames of a run that are labelled to check models, and the errors of the models on them, on record."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict, Int, Str

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.efg.evaluation import evaluation as of_efg_model
from aiida_ufpnmr.engine.trajectories.spaced import spaced_frames
from aiida_ufpnmr.engine.ufp.evaluation import evaluation as of_potential


@calcfunction
def evenly_spaced(trajectory: TrajectoryData, number: Int, group: Str) -> DatasetData:
    """Frames at equal times from each other; see :func:`~aiida_ufpnmr.engine.trajectories.spaced.spaced_frames`."""
    with trajectory.as_path() as path:
        found = spaced_frames(path, number.value)
    for atoms in found:
        atoms.info = {'config_type': group.value}
    return DatasetData.of(found)


@calcfunction
def errors_of_models(dataset: DatasetData, potential: PotentialData, **models: EfgModelData) -> dict[str, Dict]:
    """Errors of a potential, and of an ``efg_model`` where there is one, on labelled structures."""
    labels = dataset.get_dataset()
    errors = {'potential_errors': Dict(of_potential(potential.load(), labels))}
    if models:
        errors['efg_errors'] = Dict(of_efg_model(models['efg_model'].load(), labels))
    return errors
