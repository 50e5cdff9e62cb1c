"""Labels against one another: forces against bonds and energies, stresses against a fit that has not seen them.

A wrong sign or unit shows as a factor, whatever the data: energy differences are the work of the forces between frames
that lie near each other; forces alone determine a potential up to a constant, and so energies and stresses; and forces
push two atoms apart the more, the shorter their bond is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.units import Bohr, GPa, Hartree, Ry, kcal, kJ, mol

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.neighbours import neighbour_list
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
#: Energies and stresses that forces alone predict correlate more than this with right ones, and differ from them by a
#: factor in this range: on eight structures or more of Li-P-S crystals and glasses, it was 0.57 to 2.7.
_PREDICTED, _PREDICTED_RANGE = 0.8, (0.25, 4.0)
#: Atoms closer than this share of the sum of their covalent radii are bound.
_BOUND = 1.25
#: Forces of the wrong sign where the correlation of repulsion and length of bonds is above this, and above so many
#: standard errors; on right labels it was -0.17 (metal) to -0.7.
_TURNED, _STANDARD_ERRORS = 0.2, 3.0
#: A cause explains a factor up to this ratio; stresses of a fit that does not see them are less sure.
_EXPLAINS_WORK, _EXPLAINS_STRESS = 1.2, 2.0
#: Energies of a composition are off by a constant where their mean error is above this (eV/atom) and so many times
#: their spread.
_SHIFTED, _SHARPLY = 0.05, 5.0
#: One energy is off where its error is more than so many times the usual one, and more than what the errors of the
#: forces on its atoms give over so many Å; on right labels of Li-P-S, hot and broken ones among them, no error was
#: above 6.5 Å and 12 usual ones at once, also where a few of them were fitted.
_DEVIATIONS, _FAR = 12.0, 8.0
#: Error (GPa, meV per atom) that takes the weight of a label away.
_NO_WEIGHT = 1e9
#: Structures that labels are judged on: at most so many, and of larger ones at least so many with so many atoms in all.
_MOST_STRUCTURES, _FEWEST_STRUCTURES, _ENOUGH_ATOMS = 40, 12, 2000

#: What multiplies energies, as labelled, over what right forces give.
_ENERGY_CAUSES = {
    'energies in kcal/mol': mol / kcal,
    'energies in kJ/mol': mol / kJ,
    'energies in hartree': 1 / Hartree,
    'energies in rydberg': 1 / Ry,
}
#: What multiplies right energies and stresses over what the forces, as labelled, give.
_FORCE_CAUSES = {
    'forces are gradients: change their sign': -1.0,
    'forces in kcal/mol/Å': kcal / mol,
    'forces in kJ/mol/Å': kJ / mol,
    'forces in hartree/bohr': Hartree / Bohr,
    'forces in Ry/bohr': Ry / Bohr,
}
#: What multiplies right stresses over those that energies and forces give, where both are wrong.
_BOTH_CAUSES = {
    'energies and forces in kcal/mol': kcal / mol,
    'energies in hartree and forces in hartree/bohr': Hartree / Bohr,
    'energies in rydberg and forces in Ry/bohr': Ry / Bohr,
}
#: What labels should be.
_ENERGIES_AND_FORCES = 'give eV and eV/Å, forces with the sign of minus the gradient'
_STRESSES = 'give eV/Å³, positive under tension, or leave them out'


def label_warnings(problem: Problem, trained: Predictions, test: Dataset | None = None) -> list[str]:
    """What is suspicious about the labels of a fit, a line each, with the likely cause.

    Args:
        problem: what was fitted.
        trained: predictions of the fit for its own training set.
        test: structures whose energies shall be predicted.
    """
    found = check_work(problem.dataset) or check_bonds(problem.dataset)
    found = found or check_single_energies(problem.dataset, trained)
    if problem.base is not None:
        return found
    if not found:
        found, are_right = check_against_forces(problem)
        if not found and _stress_factor(trained) is not None:
            rows, predictions = _predicted_blindly(problem, _MOST_STRUCTURES)
            found = check_stress(problem.dataset.subset(rows), predictions, are_right)
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
    formulas = np.array([atoms.get_chemical_formula() for atoms in dataset])
    found = check_work(dataset) or check_bonds(dataset) or _check_predicted(dataset, predictions)
    found = found or check_stress(dataset, predictions) or check_single_energies(dataset, predictions)
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
    causes = _FORCE_CAUSES | _energy_causes(dataset)
    return [
        f'{dataset.source}: between {len(work)} pairs of near frames, energies change by {factor:.3g} times the work '
        f'of the forces ({_likely(factor, causes, _EXPLAINS_WORK)}); {_ENERGIES_AND_FORCES}'
    ]


def check_bonds(dataset: Dataset) -> list[str]:
    """A line where forces push bound atoms apart the more, the longer their bond is."""
    kinds, lengths, repulsions = [], [], []
    for atoms in dataset:
        labels, radii = forces(atoms), covalent_radii[atoms.numbers]
        near = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, _BOUND * 2 * radii.max())
        vectors = near.vectors(atoms.positions, atoms.cell.array)
        length, bond = np.linalg.norm(vectors, axis=1), radii[near.centre] + radii[near.index]
        bound = (length < _BOUND * bond) & (near.centre < near.index)
        if labels is not None and bound.any():
            one, other = near.centre[bound], near.index[bound]
            pairs = np.sort([atoms.numbers[one], atoms.numbers[other]], axis=0)
            kinds.append(pairs[0] * len(covalent_radii) + pairs[1])
            lengths.append(length[bound] / bond[bound])
            repulsions.append(((labels[other] - labels[one]) * vectors[bound]).sum(axis=1) / length[bound])
    if not kinds:
        return []
    kind = np.concatenate(kinds)
    _, correlation = _factor(*(_less_means(np.concatenate(values), kind) for values in (repulsions, lengths)))
    if correlation < max(_TURNED, _STANDARD_ERRORS / math.sqrt(len(kind))):
        return []
    return [
        f'{dataset.source}: over {len(kind)} bonds, forces push atoms apart where bonds are long, and together where '
        f'they are short (as if forces are gradients: change their sign); {_ENERGIES_AND_FORCES}'
    ]


def _labels(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces of a structure that has both."""
    energy_label, force_labels = energy(atoms), forces(atoms)
    assert energy_label is not None and force_labels is not None
    return energy_label, force_labels


def check_stress(dataset: Dataset, predictions: Predictions, are_right: bool = True) -> list[str]:
    """A line where stresses are not those that are predicted, with the likely cause.

    Args:
        are_right: whether energies and forces are known to agree; else they may be at fault as well.
    """
    factor = _stress_factor(predictions)
    if not factor:
        return []
    causes = _stress_causes(dataset) | _BOTH_CAUSES
    others = '' if are_right else ', or energies and forces do not belong together'
    return [
        f'{dataset.source}: stresses are {factor:.3g} times those that energies and forces give '
        f'({_likely(factor, causes, _EXPLAINS_STRESS)}{others}); {_STRESSES}'
    ]


def check_against_forces(problem: Problem) -> tuple[list[str], bool]:
    """A line where energies or stresses are not those of a fit that sees forces alone, with the likely cause.

    Also whether energies are known to be those of the forces.
    """
    dataset = problem.dataset
    count = _ENOUGH_ATOMS * len(dataset) // sum(map(len, dataset))
    rows, predictions = _predicted_blindly(
        problem, min(max(count, _FEWEST_STRUCTURES), _MOST_STRUCTURES), by_forces=True
    )
    some = dataset.subset(rows)
    single = check_single_energies(some, predictions, rows)
    if single:
        return single, False
    by_energy, by_stress = _predicted_energy_factor(some, predictions), None
    if len(predictions.stress) >= _FEWEST:
        by_stress = _sure(*_factor(_varying(predictions.stress_label), _varying(predictions.stress)))
    if _is_wrong(by_energy):
        assert by_energy is not None
        of_energies = _energy_causes(some) | {'energies are of the other sign': -1.0}
        causes = _FORCE_CAUSES | of_energies
        if by_stress is not None:  # where forces are at fault, stresses differ from what they give by the same factor
            are_forces = 1 / _EXPLAINS_STRESS < by_stress / by_energy < _EXPLAINS_STRESS
            causes = _FORCE_CAUSES if are_forces else of_energies
        return [
            f'{dataset.source}: energies change by {by_energy:.3g} times what a fit to the forces alone gives '
            f'({_likely(by_energy, causes, _EXPLAINS_STRESS)}); {_ENERGIES_AND_FORCES}'
        ], False
    if by_energy is None and _is_wrong(by_stress):
        assert by_stress is not None
        causes = _FORCE_CAUSES | {f'stresses {text}': size for text, size in _stress_causes(some).items()}
        return [
            f'{dataset.source}: stresses are {by_stress:.3g} times what a fit to the forces alone gives '
            f'({_likely(by_stress, causes, _EXPLAINS_STRESS)}); {_ENERGIES_AND_FORCES}; of stresses {_STRESSES}'
        ], False
    return [], by_energy is not None


def check_single_energies(
    dataset: Dataset, predictions: Predictions, rows: Sequence[int] | np.ndarray | None = None
) -> list[str]:
    """A line about energies far from what is predicted, where those of other structures of the composition are not.

    Args:
        rows: numbers of the structures in their file; ``None`` for one after the other.
    """
    formulas = np.array([atoms.get_chemical_formula() for atoms in dataset])
    sizes = np.array([len(atoms) for atoms in dataset])
    errors = (predictions.energy_label - predictions.energy) * sizes
    squares = ((predictions.forces_label - predictions.forces) ** 2).sum(axis=1)
    force_error = np.sqrt(np.add.reduceat(squares, np.cumsum(sizes) - sizes))
    off: list[tuple[int, float]] = []
    for formula in np.unique(formulas):
        members = np.flatnonzero(formulas == formula)
        apart = errors[members] - np.median(errors[members])
        reach = _FAR * np.maximum(force_error[members], np.median(force_error[members]))  # none in perfect crystals
        far = np.abs(apart) > np.maximum(_DEVIATIONS * np.median(np.abs(apart)), reach)
        if len(members) >= _FEWEST:
            off += zip(members[far], apart[far])
    if not off:
        return []
    named = [f'structure {row if rows is None else rows[row]} ({size:+.3g} eV)' for row, size in sorted(off)]
    return [
        f'{dataset.source}: {_some(named)}: energy far from what the forces and the other structures of the same '
        'composition give; check that its calculation converged, and relabel or remove it'
    ]


def _check_predicted(dataset: Dataset, predictions: Predictions) -> list[str]:
    """A line where energies or forces are not those that a potential of other labels predicts."""
    by_force = _sure(*_factor(predictions.forces_label.ravel(), predictions.forces.ravel()))
    by_energy = _predicted_energy_factor(dataset, predictions)
    signs = {'of the other sign': -1.0}
    found = []
    for name, factor, causes in (
        ('forces', by_force, {text: 1 / size for text, size in _FORCE_CAUSES.items()}),
        ('changes of energies', by_energy, _energy_causes(dataset) | signs),
    ):
        if _is_wrong(factor):
            assert factor is not None
            found.append(
                f'{dataset.source}: {name} are {factor:.3g} times those that are predicted '
                f'({_likely(factor, causes, _EXPLAINS_STRESS)}); {_ENERGIES_AND_FORCES}'
            )
    return found


def _predicted_blindly(problem: Problem, most: int, by_forces: bool = False) -> tuple[np.ndarray, Predictions]:
    """Numbers of some structures, so many or all, and what a fit to them predicts that leaves out their stresses.

    Args:
        by_forces: leave out their energies, too.
    """
    rows = np.unique(np.linspace(0, len(problem.dataset) - 1, most).astype(int))
    settings = dataclasses.replace(problem.settings, stress_error_GPa=_NO_WEIGHT)
    if by_forces:
        settings = dataclasses.replace(settings, energy_error_meV_per_atom=_NO_WEIGHT)
    blind = dataclasses.replace(problem, settings=settings)
    return rows, predict([(blind.fitted(rows), problem.dataset.subset(rows))])


def _energy_causes(dataset: Dataset) -> dict[str, float]:
    return _ENERGY_CAUSES | {'energies are per atom': 1 / float(np.mean([len(atoms) for atoms in dataset]))}


def _stress_causes(dataset: Dataset) -> dict[str, float]:
    volume = float(np.mean([atoms.cell.volume for atoms in dataset if atoms.cell.rank == 3]))
    units = {'in GPa': 1 / GPa, 'in kbar': 10 / GPa, 'a virial in eV': volume}
    return {'of the other sign': -1.0, **units, **{f'{t}, and of the other sign': -size for t, size in units.items()}}


def _predicted_energy_factor(dataset: Dataset, predictions: Predictions) -> float | None:
    """Factor of the labelled over the predicted changes of energy among structures of one composition, if sure."""
    formulas = [atoms.get_chemical_formula() for atoms in dataset]
    sizes = np.array([len(atoms) for atoms in dataset])
    if len(formulas) - len(set(formulas)) < _FEWEST - 1:
        return None
    changes = (_less_means(each * sizes, formulas) for each in (predictions.energy_label, predictions.energy))
    return _sure(*_factor(*changes))


def _sure(factor: float, correlation: float) -> float | None:
    return factor if abs(correlation) > _PREDICTED else None


def _is_wrong(factor: float | None) -> bool:
    return factor is not None and not _PREDICTED_RANGE[0] < factor < _PREDICTED_RANGE[1]


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


def _less_means(values: np.ndarray, kinds: Sequence | np.ndarray) -> np.ndarray:
    """Values (n,) less the mean of those of the same kind."""
    _, kind = np.unique(kinds, return_inverse=True)
    return values - (np.bincount(kind, values) / np.bincount(kind))[kind]


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
