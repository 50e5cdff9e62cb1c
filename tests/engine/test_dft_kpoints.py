"""Claims about grids of k-points and the protocols that choose them."""

import dataclasses

import numpy as np
import pytest
from ase.cell import Cell
from ase.units import Bohr, Hartree

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.dft.density_grid import exact_grid
from aiida_ufpnmr.engine.dft.gpaw_engine import GpawSettings, gpaw_settings
from aiida_ufpnmr.engine.dft.identity import settings_sha256
from aiida_ufpnmr.engine.dft.kpoints import kpoint_grid, needs_gamma
from aiida_ufpnmr.engine.dft.protocols import PROTOCOLS, protocol_descriptions, protocol_settings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import settings_from_mapping


def test_a_grid_follows_the_cell():
    cell = np.diag([12.82, 8.22, 6.12])
    assert kpoint_grid(cell, 0.52) == (1, 2, 2)
    assert kpoint_grid(np.diag([2.0, 1.0, 1.0]) @ cell, 0.26) == (1, 3, 4)


def test_points_of_a_grid_are_nowhere_further_apart_than_the_spacing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        cell, spacing = rng.normal(size=(3, 3)) * 6, rng.uniform(0.1, 0.8)
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
        grid = np.array(kpoint_grid(cell, spacing))
        assert (lengths / grid <= spacing * (1 + 1e-5)).all()
        coarser = np.maximum(grid - 1, 1)
        assert ((lengths / coarser > spacing) | (grid == 1)).all()


def test_a_grid_turns_with_the_cell():
    cell = Cell.fromcellpar([5, 7, 9, 80, 95, 110]).array
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    assert kpoint_grid(cell @ turn, 0.3) == kpoint_grid(cell, 0.3)


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        ([3.648, 3.648, 3.875, 90, 90, 120], True),  # hexagonal
        ([4, 4, 4, 60, 60, 60], True),  # primitive, face-centred
        ([12.82, 8.22, 6.12, 90, 90, 90], False),
        ([5, 7, 9, 90, 120, 90], False),  # monoclinic: the lengths differ
    ],
)
def test_lattices_whose_symmetry_a_shift_would_break_are_known(parameters, expected):
    assert needs_gamma(Cell.fromcellpar(parameters).array) is expected


def test_the_shipped_labels_and_their_grid_are_those_of_the_balanced_protocol(example_data):
    settings = settings_from_mapping(GpawSettings, protocol_settings('gpaw', 'balanced'))
    assert settings.cutoff_ev == 400 and (settings.density_tolerance, settings.eigenstates_tolerance) == (1e-5, 1e-7)
    for atoms in read_dataset(example_data):
        assert settings.kpoint_grid(atoms.cell.array) == ((1, 2, 2), False)


def test_labels_of_lithium_thiophosphate_keep_the_settings_that_later_runs_know_them_by(example_data):
    rows = read_dataset(example_data.with_name('li3ps4-pbe-gpaw-v6.extxyz'))
    settings = settings_sha256('gpaw', dataclasses.asdict(gpaw_settings({'protocol': 'balanced'}, None, rows.species)))
    assert {atoms.info['settings_sha256'] for atoms in rows if 'settings_sha256' in atoms.info} == {settings}


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_the_cutoff_is_the_largest_that_an_element_needs(protocol):
    cutoff = lambda *elements: gpaw_settings({'protocol': protocol}, None, elements).cutoff_ev  # noqa: E731
    assert cutoff('Li', 'P', 'S') == cutoff('Cl') == cutoff()
    assert cutoff('Li', 'P', 'S', 'O') == cutoff('O') > cutoff('S')
    assert cutoff('O', 'F') == max(cutoff('O'), cutoff('F'))


def test_a_cutoff_that_is_given_holds_for_every_element():
    assert gpaw_settings({'cutoff_ev': 250.0}, None, ['O']).cutoff_ev == 250
    assert gpaw_settings({}, {'cutoff_ev': 250.0}, ['O']).cutoff_ev == 250


def test_defaults_are_the_balanced_protocol():
    assert GpawSettings() == settings_from_mapping(GpawSettings, protocol_settings('gpaw', 'balanced'))


def test_protocols_get_finer_one_by_one():
    assert tuple(protocol_descriptions('gpaw')) == PROTOCOLS
    fast, balanced, stringent = (
        settings_from_mapping(GpawSettings, protocol_settings('gpaw', name)) for name in PROTOCOLS
    )
    assert fast.cutoff_ev < balanced.cutoff_ev < stringent.cutoff_ev
    assert fast.kspacing_per_angstrom > balanced.kspacing_per_angstrom > stringent.kspacing_per_angstrom
    with pytest.raises(InputError, match='no protocol'):
        protocol_settings('gpaw', 'sloppy')


def test_a_fixed_grid_stands_in_for_the_spacing():
    settings = settings_from_mapping(GpawSettings, {'kpoints': [1, 2, 3], 'kpoint_centre': 'gamma'})
    assert settings.kpoint_grid(np.eye(3) * 20) == ((1, 2, 3), True)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('cutoff_ev', 0.0),
        ('kspacing_per_angstrom', -1.0),
        ('kpoint_centre', 'X'),
        ('kpoints', [1, 2]),
        ('kpoints', [1, 2, 0]),
        ('max_cycles', 0),
    ],
)
def test_settings_without_sense_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        settings_from_mapping(GpawSettings, {name: value})


def test_attempts_get_more_careful_and_only_the_last_changes_the_numbers():
    settings = GpawSettings(smearing_ev=0.05, max_cycles=10)
    first, *others = settings.attempts(['Li', 'S'])
    assert first == {
        'smearing_ev': 0.05, 'cycles': 10, 'eigensolver': 'rmm-diis', 'mixer': None, 'empty_bands': None
    }  # fmt: skip
    plain, careful, last = others
    assert plain == first | {'eigensolver': None, 'empty_bands': 8}
    assert careful['empty_bands'] is last['empty_bands'] is None
    assert all(
        attempt['cycles'] > 10 and attempt['mixer'] and attempt['eigensolver'] is None for attempt in (careful, last)
    )
    assert careful['smearing_ev'] == 0.05 and last['smearing_ev'] == 0.1
    assert settings.attempts(['Na', 'S']) == others


def test_the_hash_of_settings_sees_each_of_them():
    from aiida_ufpnmr.engine.dft.identity import settings_sha256

    changes = {
        'cutoff_ev': 401.0, 'kspacing_per_angstrom': 0.5, 'kpoint_centre': 'gamma', 'kpoints': (1, 1, 1),
        'smearing_ev': 0.2, 'exact_grid': True, 'max_cycles': 50,
        'density_tolerance': 1e-6, 'eigenstates_tolerance': 1e-8,
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(GpawSettings)}
    hashes = {
        settings_sha256('gpaw', dataclasses.asdict(GpawSettings(**{name: value}))) for name, value in changes.items()
    }
    assert len(hashes | {settings_sha256('gpaw', dataclasses.asdict(GpawSettings()))}) == len(changes) + 1


def test_an_exact_grid_holds_all_that_two_plane_waves_make():
    """Highest components of a product: twice those of a wave; their index must stay below half of the grid."""
    cell, cutoff = Cell.fromcellpar([5, 7, 9, 80, 95, 110]).array, 300.0
    grid = np.array(exact_grid(cell, cutoff))
    longest = np.sqrt(2 * cutoff / Hartree) / Bohr
    index = np.stack(np.meshgrid(*3 * [np.arange(-14, 15)], indexing='ij'), -1).reshape(-1, 3)
    waves = np.linalg.norm(index @ (2 * np.pi * np.linalg.inv(cell).T), axis=1) <= longest
    assert (2 * abs(index[waves]).max(axis=0) < grid / 2).all()
    assert (grid % 2 == 0).all() and (grid < 1.3 * (4 * abs(index[waves]).max(axis=0) + 4)).all()
