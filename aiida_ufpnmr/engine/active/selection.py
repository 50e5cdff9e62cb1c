"""Choose structures to label by what a potential does not know of them.

The forces of a structure are linear in the coefficients of the potential, so the labels of structures with design rows
X, of an error s, would add I = ½ ln det(1 + X A⁻¹ Xᵀ / s²) to what is known of the coefficients, where A⁻¹ is the
covariance of their posterior (MacKay, Neural Comput. 4, 590 (1992)). Structures are taken one by one, each the one that
adds most once those before it are known; of two that are alike, the second adds little. The sum is at least 1 − 1/e of
the best that any choice could reach (Krause, Singh & Guestrin, J. Mach. Learn. Res. 9, 235 (2008)). Tensors are linear
in the weights of the EFG model in the same way; the two models share no weights, so their gains add up. A structure to
which the rule of a fit would give the weight w, for bonds that are foreign, say, has rows √w as long.

A committee is the way of models that have no posterior: those structures come first on which potentials fitted to
resamples of the labels disagree most (Seung, Opper & Sompolinsky, COLT 1992, 287). The spread of such potentials is an
estimate, from a few samples, of what the posterior of a linear model gives in closed form; and it does not know that of
two structures that are alike the second adds little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.dft.screening import unsuitable
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.regression.posterior import squared_lengths, whiten
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.uncertainty import extrapolation_grade, posterior_of
from aiida_ufpnmr.engine.weights import Rule, weight_of

METHODS = ('information', 'committee', 'random')
#: Directions that are kept of each structure: those of which most would be learned.
_DIRECTIONS = 12
#: Structures that add less than this, in nats, are as good as known.
_NOTHING = 1e-3


@dataclass(frozen=True)
class Candidate:
    """A structure that could be labelled.

    Attributes:
        atoms: the structure.
        source: where it is from, for the cap on structures of one source.
        row: which one there.
        comes_first: whether it is chosen before all that do not, however much these would tell.
    """

    atoms: Atoms
    source: str = ''
    row: int = 0
    comes_first: bool = False

    @property
    def group(self) -> str:
        """The group that its labels will be of."""
        return PurePath(self.source).stem


@dataclass(frozen=True)
class Selection:
    """The choice among some candidates.

    Attributes:
        index: candidates in the order in which they were chosen.
        gain: for each of these what its labels would add once those before it are known, nats.
        force_error: (n_candidates,) expected error of a force component, root mean square over the structure, eV/Å.
        grade: (n_candidates,) largest extrapolation grade of its atoms.
        refused: why a candidate cannot be labelled, by index.
        disagreement: (n_candidates,) largest of the committee on a force, eV/Å; ``None`` without a committee.
    """

    index: list[int]
    gain: list[float]
    force_error: np.ndarray
    grade: np.ndarray
    refused: dict[int, str]
    disagreement: np.ndarray | None = None


def disagreement(committee: Sequence[UltraFastPotential], atoms: Atoms) -> np.ndarray:
    """Spread (n,) of the forces that a committee predicts on each atom, √⟨|F − ⟨F⟩|²⟩, eV/Å.

    It is the model deviation of Zhang et al., Phys. Rev. Mater. 3, 023804 (2019).

    Raises:
        InputError: a member does not know an element.
    """
    forces = np.array([member.compute(atoms).forces for member in committee])
    return np.sqrt(forces.var(axis=0).sum(axis=1))


def select_structures(
    potential: UltraFastPotential,
    candidates: Sequence[Candidate],
    n: int,
    *,
    max_per_source: int | None = None,
    method: str = 'information',
    seed: int = 0,
    efg_model: EfgModel | None = None,
    committee: Sequence[UltraFastPotential] = (),
) -> Selection:
    """Choose up to ``n`` candidates to label.

    Args:
        potential: with its posterior.
        n: how many; fewer come back where the rest would add nothing.
        max_per_source: no more than so many from one source.
        method: ``information``; ``committee``, for the largest disagreement first; or ``random`` to compare with.
        seed: of the random choice.
        efg_model: with its posterior, to learn tensors, too; with ``information``.
        committee: potentials fitted to resamples of the labels, two or more that differ; with ``committee``.

    Raises:
        InputError: a model has no posterior or does not know an element, the method is none, or the committee is none.
    """
    if method not in METHODS:
        raise InputError(f'unknown method {method!r}; known are {", ".join(METHODS)}')
    _check_committee(method, committee, efg_model)
    refused = {i: why for i, why in enumerate(unsuitable(one.atoms) for one in candidates) if why is not None}
    usable = np.array([i for i in range(len(candidates)) if i not in refused], int)
    sketches, error, grade = _look_at(potential, efg_model, candidates, usable, sketched=method == 'information')
    spread = np.full(len(candidates), np.nan) if committee else None
    sources = [candidates[i].source for i in usable]
    first = np.array([candidates[i].comes_first for i in usable], bool)
    if method == 'information':
        chosen, gain = _greedy(sketches, sources, first, n, max_per_source)
    else:
        if spread is None:
            order = np.random.default_rng(seed).permutation(len(usable))
        else:
            spread[usable] = [disagreement(committee, candidates[i].atoms).max() for i in usable]
            order = np.argsort(-spread[usable], kind='stable')
        chosen = _capped(order[np.argsort(~first[order], kind='stable')], sources, n, max_per_source)
        gain = [float('nan')] * len(chosen)
    return Selection(
        index=[int(usable[i]) for i in chosen],
        gain=gain,
        force_error=error,
        grade=grade,
        refused=refused,
        disagreement=spread,
    )


def _check_committee(method: str, committee: Sequence[UltraFastPotential], efg_model: EfgModel | None) -> None:
    if method != 'committee':
        if committee:
            raise InputError(
                f'{committee[0].source}: a committee is of use to the method committee alone, not to {method}'
            )
        return
    if len({member.identity for member in committee}) < 2:  # chance may draw some resamples twice
        raise InputError('a committee has two or more different members; fit each with another seed of --resample')
    if efg_model is not None:
        raise InputError('a committee chooses by forces alone; leave out the EFG model')


def _look_at(
    potential: UltraFastPotential,
    efg_model: EfgModel | None,
    candidates: Sequence[Candidate],
    usable: np.ndarray,
    sketched: bool,
) -> tuple[list[list[np.ndarray]], np.ndarray, np.ndarray]:
    """Sketches of the usable candidates by model; expected errors and grades of all candidates, NaN where not usable.

    The sketches take a while, and are left out where not asked for.
    """
    posterior = posterior_of(potential)
    sketches: list[list[np.ndarray]] = [[]] if efg_model is None else [[], []]
    error, grade = np.full(len(candidates), np.nan), np.full(len(candidates), np.nan)
    with progress(len(usable), 'select', 'structure') as bar:
        for i in usable:
            atoms, group = candidates[i].atoms, candidates[i].group
            types = potential.types(atoms)
            rows, variance = _whitened_forces(potential, posterior, atoms, types)
            if sketched:
                assert potential.settings is not None, 'a potential with a posterior was fitted'
                sketches[0].append(_weighted(_sketch(rows), atoms, group, potential.settings.weights))
                if efg_model is not None:
                    sketch = _sketch(efg_model.whitened_rows(atoms))
                    sketches[1].append(_weighted(sketch, atoms, group, efg_model.settings.weights))
            expected = [posterior.forces_noise[t].error(variance[types == t]) for t in np.unique(types)]
            error[i] = np.sqrt(np.mean(np.concatenate([part.ravel() for part in expected]) ** 2))
            grade[i] = extrapolation_grade(potential, atoms).max()
            bar.update(1)
    return sketches, error, grade


def _whitened_forces(
    potential: UltraFastPotential, posterior: Posterior, atoms: Atoms, types: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows X A^(−1/2) / s (n_columns, 3 n_atoms), and the posterior variance (n_atoms, 3) of the forces.

    The error s of labels is the one by which the fit weighs forces.
    """
    whitened = whiten(posterior.whitening, features(atoms, types, potential.basis)[:, N_LEADING:])
    assert potential.settings is not None, 'a potential with a posterior was fitted'
    error = potential.settings.forces_error_meV_per_angstrom / 1000
    return whitened / np.float32(error), squared_lengths(whitened).reshape(-1, 3)


def _sketch(rows: np.ndarray) -> np.ndarray:
    """The directions (n_columns, k) of which a structure tells most, each as long as its singular value."""
    overlap = (rows.T @ rows).astype(float)
    values, vectors = np.linalg.eigh(overlap)
    keep = min(_DIRECTIONS, len(values))
    return rows @ vectors[:, -keep:].astype(np.float32)


def _weighted(sketch: np.ndarray, atoms: Atoms, group: str, rule: Rule) -> np.ndarray:
    """A sketch whose lengths go by the weight that the labels of the structure would have in a fit."""
    return sketch * np.float32(np.sqrt(weight_of(bare(atoms), group, rule)))


class _Knowledge:
    """Knowledge that a model has of some structures, and would gain from their labels.

    Args:
        sketches: of the structures, (n_columns, up to _DIRECTIONS) each.
    """

    def __init__(self, sketches: list[np.ndarray]):
        stacked = np.zeros((len(sketches[0]), _DIRECTIONS * len(sketches)), np.float32)
        for i, sketch in enumerate(sketches):
            stacked[:, i * _DIRECTIONS : i * _DIRECTIONS + sketch.shape[1]] = sketch
        self._covariance = (stacked.T @ stacked).astype(float)
        self._parts = [slice(i * _DIRECTIONS, (i + 1) * _DIRECTIONS) for i in range(len(sketches))]

    def gains(self) -> np.ndarray:
        """Information that the labels of each structure would add, nats."""
        blocks = np.array([self._covariance[part, part] for part in self._parts])
        return 0.5 * np.linalg.slogdet(np.eye(_DIRECTIONS) + blocks)[1]

    def learn(self, i: int) -> None:
        """Suppose that structure ``i`` is labelled."""
        part = self._parts[i]
        column = self._covariance[:, part]
        self._covariance -= column @ np.linalg.solve(np.eye(_DIRECTIONS) + self._covariance[part, part], column.T)


def _greedy(
    sketches: list[list[np.ndarray]], sources: list[str], first: np.ndarray, n: int, max_per_source: int | None
) -> tuple[list[int], list[float]]:
    """The structures that add most, one after the other, and how much each adds; those of ``first`` before others."""
    if not sources:
        return [], []
    models = [_Knowledge(of_model) for of_model in sketches]
    chosen: list[int] = []
    gains: list[float] = []
    taken: Counter[str] = Counter()
    open_ = np.ones(len(sources), bool)
    while len(chosen) < n and open_.any():
        gain = sum((model.gains() for model in models), np.zeros(len(sources)))
        offered = open_ & first if (open_ & first).any() else open_
        best = int(np.argmax(np.where(offered, gain, -np.inf)))
        if gain[best] < _NOTHING and not first[best]:
            break
        chosen.append(best)
        gains.append(float(gain[best]))
        for model in models:
            model.learn(best)
        taken[sources[best]] += 1
        open_[best] = False
        if max_per_source is not None and taken[sources[best]] >= max_per_source:
            open_ &= np.array([source != sources[best] for source in sources])
    return chosen, gains


def _capped(order: np.ndarray, sources: list[str], n: int, max_per_source: int | None) -> list[int]:
    chosen: list[int] = []
    taken: Counter[str] = Counter()
    for i in order:
        if len(chosen) == n:
            break
        if max_per_source is None or taken[sources[i]] < max_per_source:
            chosen.append(int(i))
            taken[sources[i]] += 1
    return chosen
