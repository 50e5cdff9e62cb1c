"""Claims about models drawn from a posterior: their mean, their spread, and what they leave as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.efg.sampling import sampled_efg_models
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential, uncertainty
from aiida_ufpnmr.engine.ufp.sampling import sampled_potentials

DRAWS = 120


@pytest.fixture(scope='module')
def labelled(example_data):
    """Twelve structures of four groups: β and γ at low temperature, amorphous, quenched."""
    return read_dataset(example_data).subset([0, 1, 2, 8, 9, 10, 36, 37, 38, 65, 66, 67])


@pytest.fixture(scope='module', params=[(), ('P',)], ids=['splines', 'moments'])
def potential(labelled, request):
    settings = PotentialSettings(bond_intervals=5, third_intervals=7, pair_intervals=12, moments=request.param or None)
    return fit_potential(labelled, settings)[0]


@pytest.fixture(scope='module', params=[1, 2], ids=['linear', 'kernel'])
def efg_model(labelled, request):
    return fit_efg_model(labelled, 'Li', EfgSettings(n_max=3, l_max=2, zeta=request.param, sparse_points=40))[0]


def check_draws(fitted: np.ndarray, expected: np.ndarray, drawn: np.ndarray) -> None:
    """Draws (draws, n) lie around the fit (n,), as far from it as it is expected (n,) to err.

    Numbers of one structure go together in a draw: as many count as there are draws, not numbers.
    """
    apart = drawn - fitted
    size = np.sqrt(np.mean(expected**2))
    assert np.sqrt(np.mean(apart**2)) == pytest.approx(size, rel=4 / np.sqrt(2 * DRAWS))
    assert np.sqrt(np.mean(apart.mean(axis=0) ** 2)) < 2 * size / np.sqrt(DRAWS)


def test_forces_of_drawn_potentials_lie_around_those_of_the_fit_as_wide_as_it_is_expected_to_err(labelled, potential):
    structures = labelled.structures[4:6]
    drawn = [
        [drawn.compute(atoms).forces.ravel() for atoms in structures]
        for drawn in sampled_potentials(potential, structures, range(DRAWS))
    ]
    fitted = np.concatenate([potential.compute(atoms).forces.ravel() for atoms in structures])
    expected = np.concatenate([uncertainty(potential, atoms).forces.ravel() for atoms in structures])
    check_draws(fitted, expected, np.array([np.concatenate(one) for one in drawn]))


def test_tensors_of_drawn_models_lie_around_those_of_the_fit_as_wide_as_it_is_expected_to_err(labelled, efg_model):
    structures = labelled.structures[4:6]
    drawn = [
        np.concatenate([to_irreps(one.predict(atoms)).ravel() for atoms in structures])
        for one in sampled_efg_models(efg_model, structures, range(DRAWS))
    ]
    fitted = np.concatenate([to_irreps(efg_model.predict(atoms)).ravel() for atoms in structures])
    expected = np.concatenate([np.repeat(efg_model.predict_with_errors(atoms).error, 5) for atoms in structures])
    check_draws(fitted, expected, np.array(drawn))


def test_a_seed_gives_the_same_potential_and_another_seed_another(labelled, potential):
    structures = labelled.structures[4:5]
    first, again, other = (next(sampled_potentials(potential, structures, [seed])) for seed in (3, 3, 4))
    assert first.identity == again.identity != other.identity


def test_drawn_potentials_repel_below_the_data(labelled, potential):
    for drawn in sampled_potentials(potential, labelled.structures[4:5], range(8)):
        for (a, b), term in drawn.pairs.items():
            closest = drawn.closest_distance[drawn.species.index(a), drawn.species.index(b)]
            below = term.coefficients[: term.grid.functions_below(closest)]
            assert (np.diff(below) < 0).all(), (a, b)


def test_files_are_written_for_both_kinds_of_model_and_open_as_models(
    labelled, potential, efg_model, example_data, tmp_path
):
    potential.save(tmp_path / 'p.h5')
    efg_model.save(tmp_path / 'e.h5')
    given = [str(tmp_path / 'p.h5'), str(example_data), '--efg-model', str(tmp_path / 'e.h5'), '--number', '2']
    found = CliRunner().invoke(
        ufpnmr, ['sample-models', *given, '-o', str(tmp_path / 'drawn'), '--json', str(tmp_path / 's.json')]
    )
    assert found.exit_code == 0, found.output
    paths = [tmp_path / 'drawn' / f'{kind}-{number}.h5' for kind in ('potential', 'efg-model') for number in (0, 1)]
    identities = {UltraFastPotential.load(path).identity for path in paths[:2]}
    assert len(identities) == 2 and potential.identity not in identities
    assert EfgModel.load(paths[2]).posterior is None and EfgModel.load(paths[3]).isotope == '7Li'
    assert json.loads((tmp_path / 's.json').read_text())['seeds'] == [0, 1]


def test_a_potential_without_posterior_is_refused_with_a_remedy(labelled, small_potential):
    with pytest.raises(InputError, match='without --no-posterior'):
        next(
            sampled_potentials(
                next(sampled_potentials(small_potential, labelled.structures[:1], [0])), labelled.structures[:1], [0]
            )
        )
