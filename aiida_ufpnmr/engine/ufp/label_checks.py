"""Labels against one another: forces against energies along a run, stresses against a fit that has not seen them.

A wrong sign or unit shows as a factor, whatever the data: energy differences are the work of the forces between frames
that lie near each other, and energies and forces determine stresses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.units import Bohr, GPa, Hartree, Ry, kcal, kJ, mol

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.ufp.isolated import foreign_compositions
from aiida_ufpnmr.engine.ufp.metrics import Predictions, predict
from aiida_ufpnmr.engine.ufp.problem import Problem

#: Between frames whose atoms move less than this (Å), mean forces give the work to a few per cent.
_NEAR = 0.3
#: So many pairs of near frames, or structures with a stress, tell a factor.
_FEWEST = 6
#: Labels that belong together correlate more than this with what they should be.
_CORRELATED = 0.7
#: A factor outside of this range, or one without correlation, is looked into.
_PLAUSIBLE = (0.6, 1.7)
#: A cause explains a factor up to this ratio; stresses of a fit that does not see them are less sure.
_EXPLAINS_WORK, _EXPLAINS_STRESS = 1.2, 2.0
#: Energies of a composition are off by a constant where their mean error is above this (eV/atom) and so many times
#: their spread.
_SHIFTED, _SHARPLY = 0.05, 5.0
#: Error of stresses (GPa) that takes their weight away.
_NO_WEIGHT_GPA = 1e9
#: Structures that the stresses are judged on, at most.
_MOST_STRUCTURES = 40

#: What multiplies the change of energies, as labelled, over the work of the forces, as labelled.
_WORK_CAUSES = {
    'forces are gradients: change their sign': -1.0,
    'energies in kcal/mol': mol / kcal,
    'energies in kJ/mol': mol / kJ,
    'energies in hartree': 1 / Hartree,
    'energies in rydberg': 1 / Ry,
    'forces in kcal/mol/Å': kcal / mol,
    'forces in hartree/bohr': Hartree / Bohr,
    'forces in Ry/bohr': Ry / Bohr,
}


def label_warnings(problem: Problem, trained: Predictions, test: Dataset | None = None) -> list[str]:
    """What is suspicious about the labels of a fit, a line each, with the likely cause.

    Args:
        problem: what was fitted.
        trained: predictions of the fit for its own training set.
        test: structures whose energies shall be predicted.
    """
    found = check_work(problem.dataset)
    if problem.base is not None:
        return found
    if not found and _stress_factor(trained) is not None:
        found = _check_stress_blindly(problem)
    foreign = [] if test is None else foreign_compositions(problem.dataset, test, problem.basis.species)
    if foreign:
        found.append(
            f'{test.source if test else ""}: absolute energies of {_some(foreign)} are not comparable, since the '
            f'compositions in {problem.dataset.source} do not determine the energy of each element; compare energies '
            'less their mean, or add isolated atoms or other compositions to the labels'
        )
    return found


def evaluation_warnings(dataset: Dataset, predictions: Predictions) -> list[str]:
    """What is suspicious about labels beside predictions that know nothing of them, a line each."""
    found = check_work(dataset) or check_stress(dataset, predictions)
    formulas = np.array([atoms.get_chemical_formula() for atoms in dataset])
    errors = predictions.energy - predictions.energy_label
    shifted = []
    for formula in np.unique(formulas):
        of_it = errors[formulas == formula]
        if len(of_it) > 1 and abs(of_it.mean()) > max(_SHIFTED, _SHARPLY * of_it.std()):
            shifted.append(f'{formula} ({1000 * of_it.mean():+.0f} meV/atom)')
    if shifted:
        found.append(
            f'{dataset.source}: energies are off by a constant: {_some(shifted)}; absolute energies of another DFT '
            'set-up, or of compositions that the training set does not determine, are not comparable'
        )
    return found


def check_work(dataset: Dataset) -> list[str]:
    """A line where energies do not change by the work of the forces between near frames, with the likely cause."""
    changes, works, sizes = [], [], []
    for one, other in zip(dataset.structures, dataset.structures[1:]):
        same_atoms = len(one) > 1 and np.array_equal(one.numbers, other.numbers)
        if same_atoms and np.array_equal(one.cell.array, other.cell.array):
            steps = find_mic(other.positions - one.positions, one.cell, one.pbc)[0]
            if 0 < np.abs(steps).max() < _NEAR:
                begin, end = (_labels(atoms) for atoms in (one, other))
                changes.append(end[0] - begin[0])
                works.append(-0.5 * float(((begin[1] + end[1]) * steps).sum()))
                sizes.append(len(one))
    change, work = np.array(changes), np.array(works)
    factor, correlation = _factor(change, work)
    if len(work) < _FEWEST or abs(correlation) < _CORRELATED or _PLAUSIBLE[0] < factor < _PLAUSIBLE[1]:
        return []
    causes = _WORK_CAUSES | {'energies are per atom': 1 / float(np.mean(sizes))}
    return [
        f'{dataset.source}: between {len(work)} pairs of near frames, energies change by {factor:.3g} times the work '
        f'of the forces ({_likely(factor, causes, _EXPLAINS_WORK)}); give eV and eV/Å, forces with the sign of minus '
        'the gradient'
    ]


def _labels(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces of a structure that has both."""
    energy_label, force_labels = energy(atoms), forces(atoms)
    assert energy_label is not None and force_labels is not None
    return energy_label, force_labels


def check_stress(dataset: Dataset, predictions: Predictions) -> list[str]:
    """A line where stresses are not those that are predicted, with the likely cause."""
    factor = _stress_factor(predictions)
    if not factor:
        return []
    volume = float(np.mean([atoms.cell.volume for atoms in dataset if atoms.cell.rank == 3]))
    units = {'in GPa': 1 / GPa, 'in kbar': 10 / GPa, 'a virial in eV': volume}
    turned = {f'{text}, and of the other sign': -size for text, size in units.items()}
    causes = {'of the other sign': -1.0, **units, **turned}
    return [
        f'{dataset.source}: stresses are {factor:.3g} times those that energies and forces give '
        f'({_likely(factor, causes, _EXPLAINS_STRESS)}); give eV/Å³, positive under tension, or leave them out'
    ]


def _check_stress_blindly(problem: Problem) -> list[str]:
    """:func:`check_stress` against a fit that leaves stresses out."""
    rows = np.unique(np.linspace(0, len(problem.dataset) - 1, _MOST_STRUCTURES).astype(int))
    blind = dataclasses.replace(
        problem, settings=dataclasses.replace(problem.settings, stress_error_GPa=_NO_WEIGHT_GPA)
    )
    solution = blind.equations(rows).solve(blind.penalty)
    subset = problem.dataset.subset(rows)
    return check_stress(subset, predict([(blind.potential(solution.coefficients, [problem.closest(rows)]), subset)]))


def _stress_factor(predictions: Predictions) -> float | None:
    """Factor of labelled over predicted stresses: ``None`` where it is near 1, or none can be told; 0 without
    correlation."""
    if len(predictions.stress) < _FEWEST:
        return None
    factor, correlation = _factor(_varying(predictions.stress_label), _varying(predictions.stress))
    if abs(correlation) < _CORRELATED:
        return 0.0
    return None if _PLAUSIBLE[0] < factor < _PLAUSIBLE[1] else factor


def _varying(stresses: np.ndarray) -> np.ndarray:
    """Stresses less their mean over the structures, which a fit without stresses knows less well."""
    return (stresses - stresses.mean(axis=0)).ravel()


def _factor(labels: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Factor by which labels differ from what is expected, and their correlation; 0 where nothing varies."""
    if not (labels.size and labels.any() and expected.any()):
        return 0.0, 0.0
    correlation = float(labels @ expected / math.sqrt((labels @ labels) * (expected @ expected)))
    return math.copysign(float(np.linalg.norm(labels) / np.linalg.norm(expected)), correlation), correlation


def _likely(factor: float, causes: Mapping[str, float], ratio: float) -> str:
    apart = {text: abs(math.log(factor / size)) for text, size in causes.items() if factor / size > 0}
    limit = min(math.log(ratio), min(apart.values(), default=0.0) + math.log(_EXPLAINS_WORK))
    near = [text for text, distance in apart.items() if distance < limit]
    return f'as if {" or ".join(near)}' if near else 'another sign or unit'


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
