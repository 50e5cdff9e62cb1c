"""Weights of structures in a fit: what their labels count, beside those of other structures.

A structure of weight w counts as if it stood there w times. Its weight is the product of its own, the entry ``weight``
of its comment line, and those of a rule for its group and for foreign bonds; each is 1 where it is not given. A name in
a rule may be a pattern of the shell, such as ``packed*``; where several fit a group, all count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, own_weight
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.foreign_bonds import foreign_bonds

#: Name in a rule of the structures with bonds that a compound of ions does not have; others are groups, or patterns.
FOREIGN_BONDS = 'foreign bonds'

Rule = Mapping[str, float] | None


def check_rule(rule: Rule) -> None:
    """Refuse weights that are none.

    Raises:
        ValueError: a weight that is not above zero.
    """
    for name, weight in (rule or {}).items():
        if not weight > 0:
            raise ValueError(f'weights must be above zero, not {weight} for {name}; remove what shall not count')


def check_groups(rule: Rule, dataset: Dataset) -> None:
    """Refuse a rule for groups that a data set does not hold.

    Raises:
        InputError: naming the groups that there are.
    """
    groups = sorted(set(dataset.groups))
    unknown = [name for name in set(rule or {}) - {FOREIGN_BONDS} if not any(_fits(group, name) for group in groups)]
    if unknown:
        known = ', '.join([FOREIGN_BONDS, *groups])
        raise InputError(f'{dataset.source}: weights names {min(unknown)}, which is no group; there are {known}')


def _fits(group: str, name: str) -> bool:
    """Whether a name in a rule is that of a group, or a pattern that fits it."""
    return group == name or fnmatchcase(group, name)


def weight_of(atoms: Atoms, group: str, rule: Rule) -> float:
    """Weight of a structure of a group."""
    if not rule:
        return own_weight(atoms)
    foreign = rule[FOREIGN_BONDS] if FOREIGN_BONDS in rule and foreign_bonds(atoms) else 1.0
    return own_weight(atoms) * foreign * math.prod(weight for name, weight in rule.items() if _fits(group, name))


def structure_weights(dataset: Dataset, rule: Rule) -> np.ndarray:
    """Weight (n,) of each structure of a data set."""
    return np.array([weight_of(atoms, group, rule) for atoms, group in zip(dataset, dataset.groups)])


def weights_summary(dataset: Dataset, weights: np.ndarray) -> dict[str, Any] | None:
    """What the weights of a data set come to, for a report; ``None`` where all are 1.

    Returns:
        How many structures have another weight than 1, how many of weight 1 would say as much, (Σ w)² / Σ w², and the
        mean weight of each group.
    """
    if (weights == 1).all():
        return None
    groups = np.array(dataset.groups)
    return {
        'structures': int(np.sum(weights != 1)),
        'effective_structures': float(weights.sum() ** 2 / np.sum(weights**2)),
        'mean_by_group': {str(name): float(weights[groups == name].mean()) for name in np.unique(groups)},
    }
