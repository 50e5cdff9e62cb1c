"""Fixtures of the engine tests."""

from pathlib import Path

import pytest
from ase import Atoms

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential


@pytest.fixture(scope='session')
def example_data() -> Path:
    """The labelled Li3PS4 set that the project ships."""
    return Path(__file__).parents[2] / 'examples' / 'data' / 'li3ps4-pbe-gpaw.extxyz'


@pytest.fixture(scope='session')
def small_potential(example_data) -> UltraFastPotential:
    """A small potential fitted to every third of the shipped structures."""
    dataset = read_dataset(example_data)
    return fit_potential(dataset.subset(range(0, 73, 3)), PotentialSettings(bond_intervals=5))[0]


@pytest.fixture(scope='session')
def crystal(example_data) -> Atoms:
    """β-Li3PS4 at 300 K, 32 atoms, without labels."""
    atoms = read_dataset(example_data).structures[6].copy()
    del atoms.arrays['efg']
    return atoms
