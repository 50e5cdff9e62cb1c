"""Claims about the EFG model as a function of a structure."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.efg.descriptors import contraction_weights, equivariant_features, feature_count
from aiida_ufpnmr.engine.efg.electrostatics import point_charge_components
from aiida_ufpnmr.engine.efg.harmonics import coupling
from aiida_ufpnmr.engine.efg.kernels import mix_channels
from aiida_ufpnmr.engine.efg.tensors import from_irreps, to_irreps
from aiida_ufpnmr.engine.efg.terms import LinearTerms
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash, seal
from aiida_ufpnmr.engine.neighbours import surroundings

SETTINGS = EfgSettings(cutoff=4.5, n_max=4, l_max=4, mixed_channels=6, message_channels=3)
#: Species, pairs of direction and rank, radial functions, channels.
MESSAGES = 3 * 5 * 4 * 3

#: Sums of some thousand rounded terms, relative to the largest component.
EXACT = 1e-10


def random_model(seed=0):
    """Weights drawn at random: every term of the model takes part."""
    mixing, message_mixing, weights, message_weights = random_numbers(seed)
    terms = LinearTerms(*contraction_weights(weights, 4, 6), message_weights)
    known = 'Li', 'P', 'S'
    return EfgModel('Li', '7Li', known, SETTINGS, 0.01, mixing, message_mixing, terms, 'no training set')


def random_numbers(seed=0):
    """Mixing of the density and of messages, and the weights of both."""
    rng = np.random.default_rng(seed)
    shapes = (5, 12, 6), (2, 3, 12, 3), (feature_count(4, 6),), (MESSAGES,)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.fixture(scope='module')
def model():
    return random_model()


@pytest.fixture
def atoms():
    """A triclinic cell narrower than the cut-off."""
    positions = np.random.default_rng(5).uniform(size=(10, 3))
    cell = np.array([[5.5, 0, 0], [1.0, 4.2, 0], [-0.7, 0.4, 7.8]])
    return Atoms('Li4PS4Li', scaled_positions=positions, cell=cell, pbc=True)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=EXACT * np.abs(b).max())


def test_prediction_is_symmetric_and_traceless(model, atoms):
    v = model.predict(atoms)
    assert v.shape == (5, 3, 3)
    close(v, v.swapaxes(1, 2))
    np.testing.assert_allclose(np.trace(v, axis1=1, axis2=2), 0, atol=EXACT * np.abs(v).max())


def test_prediction_equals_explicit_features_times_weights(model, atoms):
    mixing, message_mixing, weights, message_weights = random_numbers()
    expansion, ions = model.representation.expansion, model.ions(atoms.numbers)
    species = expansion.species_indices(atoms.numbers)
    c = expansion.coefficients(atoms.positions, atoms.cell.array, atoms.pbc, species, ions)
    twin = equivariant_features(mix_channels(c, mixing)) @ weights
    twin += messages_twin(expansion, atoms, species, ions, message_mixing) @ message_weights
    np.testing.assert_allclose(to_irreps(model.predict(atoms)), twin, rtol=0, atol=1e-12 * np.abs(twin).max())


def messages_twin(expansion, atoms, species, ions, mixing):
    """Messages pair by pair: the expansion of a lone neighbour, coupled with that of its own surroundings."""
    seen = surroundings(atoms.positions, atoms.cell.array, atoms.pbc, expansion.cutoff, ions)
    everyone = expansion.coefficients(atoms.positions, atoms.cell.array, atoms.pbc, species, np.arange(len(atoms)))
    messages = np.zeros((len(ions), 5, 3, 5, 4, 3))
    for i in range(len(ions)):
        for pair in range(seen.start[i], seen.start[i + 1]):
            j = seen.index[pair]
            lone = np.array([np.zeros(3), seen.vector[pair]])
            c = expansion.coefficients(lone, np.zeros((3, 3)), False, np.array([0, species[j]]), np.array([0]))[0]
            c = c.reshape(25, 3, 4)[:, species[j]]
            for p, (l, rank) in enumerate([(1, 1), (3, 1), (0, 2), (2, 2), (4, 2)]):
                told = everyone[j, rank**2 : (rank + 1) ** 2] @ mixing[rank - 1, species[j]]
                pairs = np.einsum('Mab,an,bk->Mnk', coupling(l, rank), c[l * l : (l + 1) ** 2], told)
                messages[i, :, species[j], p] += pairs
    return messages.reshape(len(ions), 5, -1)


def test_neighbours_tell_of_what_lies_beyond_the_cutoff(model):
    chain = Atoms('LiSP', positions=[[0, 0, 0], [0, 0.3, 3.0], [0, 2.0, 6.0]])
    without = model.predict(chain[:2])
    assert np.abs(model.predict(chain) - without).max() > 1e-3 * np.abs(without).max()
    chain.positions[2, 2] = 7.6
    np.testing.assert_allclose(model.predict(chain), without, rtol=0, atol=EXACT * np.abs(without).max())


def test_tensors_rotate_with_the_structure(model, atoms):
    v = model.predict(atoms)
    r = Rotation.random(random_state=1).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ r.T, scale_atoms=False)
    turned.positions = atoms.positions @ r.T
    close(model.predict(turned), r @ v @ r.T)


def test_tensors_stay_under_inversion_and_reflect_with_a_mirror(model, atoms):
    v = model.predict(atoms)
    for mirror in (-np.eye(3), np.diag([1.0, -1.0, 1.0])):
        image = atoms.copy()
        image.set_cell(atoms.cell.array @ mirror, scale_atoms=False)
        image.positions = atoms.positions @ mirror
        close(model.predict(image), mirror @ v @ mirror)


def test_tensors_follow_a_permutation_of_the_atoms(model, atoms):
    order = np.random.default_rng(2).permutation(len(atoms))
    index = model.ions(atoms.numbers)
    shuffled = order[model.ions(atoms.numbers[order])]
    close(model.predict(atoms[order]), model.predict(atoms)[np.searchsorted(index, shuffled)])


def test_tensors_do_not_feel_a_translation_or_another_choice_of_images(model, atoms):
    moved = atoms.copy()
    moved.positions += [0.3, -8.0, 2.0]
    close(model.predict(moved), model.predict(atoms))
    wrapped = moved.copy()
    wrapped.wrap()
    close(model.predict(wrapped), model.predict(atoms))


def test_a_supercell_repeats_the_tensors(model, atoms):
    v = model.predict(atoms)
    close(model.predict(atoms * (2, 3, 1)), np.tile(v, (6, 1, 1)))


def test_fragments_beyond_the_cutoff_of_each_other_add_up(model):
    rng = np.random.default_rng(8)
    first = Atoms('Li2PS4', positions=rng.uniform(0, 6, (7, 3)))
    second = Atoms('Li3S2', positions=rng.uniform(0, 6, (5, 3)))
    apart = second.copy()
    apart.positions += [6 + 4.5, 0, 0]
    alone = np.concatenate([model.predict(first), model.predict(second)])
    close(model.predict(first + apart), alone)
    # they do feel each other when they come closer
    apart.positions -= [4.0, 0, 0]
    assert np.abs(model.predict(first + apart) - alone).max() > 1e-3 * np.abs(alone).max()


def test_prediction_is_smooth_where_a_neighbour_crosses_the_cutoff(model):
    def v(r):
        return model.predict(Atoms('LiSP', positions=[[0, 0, 0], [1.5, 0.4, 2.0], [0, r, 0]]))[0]

    h = 1e-3
    slopes = [(v(4.5 + s + h) - v(4.5 + s)) / h for s in (-2 * h, -h, 0)]
    scale = np.abs(v(4.0) - v(4.4)).max() / 0.4
    # zero value and slope beyond; before, a slope that vanishes linearly (π²/2 · h / width² of the fading term)
    assert np.abs(slopes[2]).max() == 0
    assert np.abs(slopes[1]).max() < 0.05 * scale and np.abs(slopes[0]).max() < 0.15 * scale


def test_an_isolated_ion_has_no_gradient(model):
    np.testing.assert_array_equal(model.predict(Atoms('Li', positions=[[0, 0, 0]])), np.zeros((1, 3, 3)))


def test_predictor_equals_predict_for_frames_of_changing_cell(model, atoms):
    predict = model.predictor(atoms.numbers, atoms.pbc)
    for strain in (1.0, 1.02, 0.95):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * strain, scale_atoms=True)
        np.testing.assert_array_equal(predict(strained.positions, strained.cell.array), model.predict(strained))


def test_mixed_boundary_conditions_leave_out_images(model, atoms):
    slab = atoms.copy()
    slab.pbc = (True, True, False)
    wide = atoms.copy()
    wide.cell[2] = [0, 0, 60.0]
    wide.pbc = True
    slab.cell[2] = [0, 0, 60.0]
    close(model.predict(slab), model.predict(wide))


def test_a_model_shows_itself_in_one_line(model):
    known = ', '.join(model.known_species)
    assert repr(model) == f'EfgModel({model.isotope} among {known}; cut-off {model.cutoff:g} Å)'


def test_unknown_element_is_refused(model):
    with pytest.raises(InputError, match='Ge'):
        model.predict(Atoms('LiGe', positions=[[0, 0, 0], [0, 0, 2]]))


def test_saved_model_predicts_the_same_bits_and_equal_models_have_equal_hashes(model, atoms, tmp_path):
    model.save(tmp_path / 'a.h5')
    random_model().save(tmp_path / 'b.h5')
    random_model(seed=1).save(tmp_path / 'c.h5')
    loaded = EfgModel.load(tmp_path / 'a.h5')
    np.testing.assert_array_equal(loaded.predict(atoms), model.predict(atoms))
    assert (loaded.species, loaded.known_species, loaded.cutoff) == ('Li', ('Li', 'P', 'S'), 4.5)
    assert loaded.settings == SETTINGS
    hashes = [content_hash(tmp_path / f'{name}.h5') for name in 'abc']
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ('version', 'later'), [(1, ('zeta', 'sparse_points', 'charges', 'message_channels')), (2, ('message_channels',))]
)
def test_files_of_earlier_formats_are_read(atoms, tmp_path, version, later):
    """They lack settings that came later; in the first, there was no posterior, and in both neighbours told nothing."""
    mixing, message_mixing, weights, _ = random_numbers()
    terms = LinearTerms(*contraction_weights(weights, 4, 6), np.zeros(0))
    settings = dataclasses.replace(SETTINGS, message_channels=0)
    known = 'Li', 'P', 'S'
    model = EfgModel('Li', '7Li', known, settings, 0.01, mixing, message_mixing[..., :0], terms, 'no training set')
    path = tmp_path / 'old.h5'
    model.save(path)
    with h5py.File(path, 'a') as file:
        file.attrs['format_version'] = version
        old = {name: value for name, value in dataclasses.asdict(settings).items() if name not in later}
        file.attrs['settings'] = json.dumps(old)
        del file['message_mixing'], file['message_weights']
        if version == 1:
            del file.attrs['unit'], file.attrs['irreps']
        seal(file)
    found = EfgModel.load(path)
    assert found.settings == settings
    np.testing.assert_array_equal(found.predict(atoms), model.predict(atoms))
    np.testing.assert_array_equal(found.centres(atoms.numbers), found.ions(atoms.numbers))


def test_damaged_foreign_and_newer_model_files_are_refused(model, tmp_path):
    path = tmp_path / 'model.h5'
    model.save(path)
    whole = path.read_bytes()

    def refused(match):
        with pytest.raises(InputError, match=match):
            EfgModel.load(path)

    path.write_bytes(whole[: len(whole) // 2])
    refused('model.h5: not a readable HDF5 file')
    path.write_bytes(whole)
    with h5py.File(path, 'a') as file:
        file.attrs['format_version'] = 99
    refused('newer')
    path.write_bytes(whole)
    with h5py.File(path, 'a') as file:
        del file['pair_weights']
    refused('damaged')
    path.write_bytes(whole)
    with h5py.File(path, 'a') as file:
        file['linear_weights'][2] = np.nan
        seal(file)
    refused('NaN')
    path.write_bytes(whole)
    with h5py.File(path, 'a') as file:
        file.attrs['settings'] = '{"cutoff": 4.5, "l_max": 6}'
        seal(file)
    refused('do not fit')
    path.write_bytes(whole)
    with h5py.File(path, 'a') as file:
        file.attrs['species'] = 'Qq'
        seal(file)
    refused("'Qq' is no element")
    with h5py.File(path, 'w') as file:
        file['x'] = 1
    refused('not a ufpnmr efg-model file')


def test_point_charges_of_a_crystal_have_the_gradient_of_a_direct_sum(crystal):
    """Ewald against a sphere of neutral cells without dipole, whose field falls off fast enough."""
    rng = np.random.default_rng(0)
    # a rock salt, distorted: no net dipole in any cell by pairing each ion with its inversion image
    half = rng.uniform(0.05, 0.45, (4, 3))
    scaled = np.concatenate([half, 1 - half])
    charges = np.tile([1.0, -1.0, 2.0, -2.0], 2)
    cell = np.array([[6.0, 0, 0], [0.5, 6.5, 0], [-0.3, 0.4, 7.0]])
    positions = scaled @ cell
    ions = np.arange(8)
    ours = point_charge_components(positions, cell, True, charges, ions)
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing='ij'), -1).reshape(-1, 3)
    near = grid[np.linalg.norm(grid @ cell, axis=1) < 70]
    shifts = near @ cell
    direct = np.zeros((8, 3, 3))
    for a in ions:
        vectors = (positions[None] + shifts[:, None] - positions[a]).reshape(-1, 3)
        r = np.linalg.norm(vectors, axis=1)
        q, vectors, r = (x[r > 1e-9] for x in (np.tile(charges, len(shifts)), vectors, r))
        direct[a] = np.einsum('k,ki,kj->ij', 3 * q / r**5, vectors, vectors)
    twin = to_irreps(direct) * Bohr**3
    # what is beyond the sphere: quadrupoles of cells, 1e-4 of the whole
    np.testing.assert_allclose(ours, twin, atol=2e-3 * np.abs(twin).max())


def test_point_charges_of_a_molecule_are_summed_directly():
    atoms = Atoms('LiS', positions=[[0, 0, 0], [0, 0, 2.0]])
    found = point_charge_components(atoms.positions, np.zeros((3, 3)), False, np.array([1.0, -2.0]), np.array([0]))
    expected = -2.0 / (2.0 / Bohr) ** 3 * np.diag([-1.0, -1.0, 2.0])
    np.testing.assert_allclose(found[0], to_irreps(expected), atol=1e-12)
    with pytest.raises(InputError, match='all directions or none'):
        point_charge_components(atoms.positions, 5 * np.eye(3), (True, True, False), np.ones(2), np.array([0]))


def test_a_baseline_of_charges_is_learnt_around_and_added_again(example_data, tmp_path):
    """Labels that are the field of point charges: the baseline leaves nothing to be learnt."""
    charges = {'Li': 1.0, 'P': 5.0, 'S': -2.0}
    structures = []
    for atoms in read_dataset(example_data).subset(range(0, 73, 9)):
        copy = atoms.copy()
        q = np.array([charges[symbol] for symbol in copy.symbols])
        ions = np.flatnonzero(copy.numbers == 3)
        copy.arrays['efg'][:] = np.nan
        copy.arrays['efg'][ions] = from_irreps(
            point_charge_components(copy.positions, copy.cell.array, copy.pbc, q, ions)
        )
        structures.append(copy)
    settings = EfgSettings(cutoff=4.5, n_max=3, l_max=3, mixed_channels=4, folds=3, charges=charges)
    model, results = fit_efg_model(Dataset(tuple(structures)), 'Li', settings)
    assert results['efg_relative_rmse'] < 1e-10
    model.save(tmp_path / 'm.h5')
    found = EfgModel.load(tmp_path / 'm.h5').predict(structures[0])
    np.testing.assert_allclose(found, structures[0].arrays['efg'][structures[0].numbers == 3], atol=1e-12)
    with pytest.raises(InputError, match='charges must be given for Li, P, S'):
        fit_efg_model(Dataset(tuple(structures)), 'Li', EfgSettings(charges={'Li': 1.0}))
