"""Claims about a new material: from its CIF to models and an answer, within a budget; a stand-in labels."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.manage.caching import enable_caching
from ase import Atoms
from ase.build import bulk
from conftest import TINY
from stand_ins import install_gpaw

from aiida_ufpnmr.calculations.first_sets import depth_below_crystal, gathered, part_withheld
from aiida_ufpnmr.data import DatasetData
from aiida_ufpnmr.engine.building.drawing import DrawSettings, drawn_cells
from aiida_ufpnmr.engine.building.label_cells import crystal_of
from aiida_ufpnmr.engine.dataset import own_weight
from aiida_ufpnmr.engine.dft.identity import structure_sha256
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.tools.queries import labels_behind
from aiida_ufpnmr.workflows.active_learning import ActiveLearningWorkChain
from aiida_ufpnmr.workflows.budget import affordable, core_hours, label_core_hours
from aiida_ufpnmr.workflows.ions import ion_of, with_ion
from aiida_ufpnmr.workflows.label import LabelWorkChain
from aiida_ufpnmr.workflows.learning_generation import LearningGenerationWorkChain
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.new_material import NewMaterialWorkChain
from aiida_ufpnmr.workflows.new_material_inputs import potential_settings

CIF = """data_salt
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
#: Rock salt with potassium on an eighth of the places of sodium, and silver iodide in the same lattice.
MIXED = CIF.format(a=5.64) + 'Na1 Na 0 0 0 0.875\nK1 K 0 0 0 0.125\nCl1 Cl 0.5 0.5 0.5 1\n'
SILVER = CIF.format(a=6.0) + 'Ag1 Ag 0 0 0 1\nI1 I 0.5 0.5 0.5 1\n'

FIT = {
    'pair_cutoff': 5.2,
    'triplet_cutoff': 3.5,
    'bond_intervals': 4,
    'third_intervals': 5,
    'pair_intervals': 14,
    'folds': 3,
}
OVERRIDES = {
    'cell': {'least_height_angstrom': 5.0, 'least_atoms': 16},
    'draw': {'parameters': {'number': 10, 'rattle_angstrom': [0.05, 0.2]}},
    'learning': {
        'fit_potential': {'settings': FIT},
        'fit_efg': {'settings': {'n_max': 3, 'l_max': 2, 'mixed_channels': 4, 'folds': 3, 'penalty': 0.1}},
        'md': {'parameters': {'steps': 200, 'every': 10, 'timestep': 1.0, 'grade_limit': 1000.0}},
        'select': {'parameters': {'number': 3}},
        'fraction_above_grade': 1.0,
        'max_generations': 5,
        'patience': 9,
        'goal': {'forces_rmse_meV_per_angstrom': 5000.0},
    },
    'dynamic_nmr': TINY['dynamic_nmr'],
}  # fmt: skip
#: What an ion without EFG does not take, and errors that only budgets end.
WITHOUT_EFG = {
    **OVERRIDES,
    'learning': {
        **{name: given for name, given in OVERRIDES['learning'].items() if name != 'fit_efg'},
        'exploration': {'replicas': 1},
        'goal': {'energy_rmse_meV_per_atom': 1e-9},
    },
    'dynamic_nmr': {name: given for name, given in OVERRIDES['dynamic_nmr'].items() if name != 'acf'},
}


@pytest.fixture(scope='module')
def ionic(code, tmp_path_factory):
    return install_gpaw(code.computer, tmp_path_factory.mktemp('ionic'), 'ionic', 'ionic_stand_in.py')


@pytest.fixture(scope='module')
def launch(ionic, command, tmp_path_factory):
    """Launches a material; gives what was printed, and the workflow."""
    folder = tmp_path_factory.mktemp('crystals')

    def run(text, *given, overrides=OVERRIDES):
        (folder / 'salt.cif').write_text(text)
        (folder / 'overrides.yaml').write_text(yaml.safe_dump(overrides))
        shared = ('--engine', 'gpaw', '--label-code', 'ionic@localhost', '--protocol', 'fast')
        files = (folder / 'salt.cif', '--overrides', folder / 'overrides.yaml')
        found = command('launch', 'new-material', *files, *shared, *given)
        pk = re.search(r'NewMaterialWorkChain #(\d+)', found.output)
        return found, pk and orm.load_node(int(pk[1]))

    return run


@pytest.fixture(scope='module')
def salt(launch):
    """The whole way of a crystal with shared sites, at a temperature of its own."""
    return launch(MIXED, '--ion', 'Na', '--labels', 22, '--temperature', 300)


def generations(node):
    return [one for one in node.called_descendants if one.process_class is LearningGenerationWorkChain]


@pytest.mark.slow
def test_a_crystal_with_shared_sites_becomes_models_and_an_answer(salt):
    found, node = salt
    assert found.exit_code == 0 and node.exit_status == 0, (found.output, node.exit_message)
    assert node.outputs.material['cells']['composition'] == {'Na': 7, 'K': 1, 'Cl': 8}
    assert node.outputs.efg_model.base.attributes.get('ion') == 'Na'
    assert node.outputs.acf.results['isotope'] == '23Na' and node.outputs.hops.results['species'] == 'Na'
    assert {'verdict', 'hop_rate_per_s', 'temperature_mean_K'} <= set(node.outputs.tau.get_dict())
    # forces of the stand-in are of pairs, which the potential can learn; ten labels leave a part of 1 eV/Å, their size
    assert node.outputs.potential_errors['forces_rmse_meV_per_angstrom'] < 300


@pytest.mark.slow
def test_temperatures_rise_to_that_of_the_answer_and_the_goal_ends_it_then(salt):
    _, node = salt
    runs = [[run.inputs.md for run in one.called if run.process_class is MdWorkChain] for one in generations(node)]
    asked = [[md.parameters['temperature'] for md in of_generation] for of_generation in runs]
    assert asked == [[], 3 * [200.0], 3 * [300.0]] and node.outputs.history['verdict'] == 'goal reached'
    for of_generation in runs[1:]:
        assert len({round(md.structure.get_cell_volume(), 3) for md in of_generation}) == 3
        assert len({md.parameters['seed'] for md in of_generation}) == 3


@pytest.mark.parametrize('edge_angstrom', [5.64, 8.0])
def test_triplets_reach_as_far_as_an_ion_has_10_neighbours_and_others_have_22(edge_angstrom):
    crystal = crystal_of(bulk('NaCl', 'rocksalt', a=edge_angstrom), 'salt')
    reach = potential_settings(crystal, 'Na')['triplet_cutoff']
    for element, neighbours in (('Na', 10), ('Cl', 22)):
        volume = 4 / 3 * np.pi * reach[element] ** 3
        assert 8 / edge_angstrom**3 * volume == pytest.approx(neighbours, rel=0.05)  # to a tenth of an Å


@pytest.mark.parametrize(
    ('cell', 'ion', 'centres'),
    [
        (Atoms('Na6Sb2S8', cell=np.eye(3) * 30, pbc=True), 'Na', ['S']),
        (Atoms('Li12P2S10Cl2', cell=np.eye(3) * 30, pbc=True), 'Li', ['S']),
        (Atoms('Li3P', cell=np.eye(3) * 30, pbc=True), 'Li', ['P']),
        (Atoms('Li2', cell=np.eye(3) * 30, pbc=True), 'Li', None),
    ],
)
def test_the_most_frequent_anions_have_many_body_terms(cell, ion, centres):
    cell.set_scaled_positions(np.random.default_rng(0).random((len(cell), 3)))
    assert potential_settings(crystal_of(cell, 'cell'), ion)['moments'] == centres


@pytest.mark.slow
def test_labels_that_there_are_join_the_first_ones_and_count_in_no_budget(salt, launch, command, tmp_path):
    _, node = salt
    given = node.outputs.dataset
    few = {**OVERRIDES, 'max_generations': 1, 'check_frames': 0, 'draw': {'parameters': {'number': 4, 'seed': 5}}}
    found, more = launch(
        MIXED, '--ion', 'Na', '--labels', 8, '--temperature', 300, '--begin-with', given.pk, overrides=few
    )
    assert 'Ended: ' in found.output, found.output
    assert more.inputs.dataset.uuid == given.uuid and more.outputs.material['labels_tried'] <= 8
    (learning,) = (one for one in more.called if one.process_class is ActiveLearningWorkChain)
    drawn = len(learning.inputs.dataset.rows) - len(given.rows)
    assert 0 < drawn < 4, 'one or more of the four are withheld'
    found, _ = launch(SILVER, '--ion', 'Ag', '--begin-with', given.pk, overrides=WITHOUT_EFG)
    assert isinstance(found.exception, InputError)
    assert 'labels hold Cl, K, Na, which the crystal does not' in str(found.exception)


def test_a_structure_that_is_in_several_sets_of_labels_is_taken_once(aiida_profile):
    drawn = drawn_cells(bulk('NaCl', 'rocksalt', a=5.64, cubic=True), DrawSettings(number=6))
    first, second = DatasetData.of(drawn[:4]), DatasetData.of(drawn[2:])
    parts = part_withheld(first=first.store(), second=second.store())
    assert len(parts['dataset'].rows) + len(parts['test_dataset'].rows) == len(drawn)
    assert all(row['group'].startswith('withheld') for row in parts['test_dataset'].rows)


@pytest.mark.slow
def test_models_are_checked_on_frames_of_a_run_that_no_fit_saw(salt):
    found, node = salt
    check = node.outputs.check
    (run,) = (one for one in check.dataset.creator.caller.caller.called if one.process_class is MdWorkChain)
    assert (
        run.inputs.md.parameters['temperature'] == 300.0 and run.inputs.md.potential.uuid == node.outputs.potential.uuid
    )
    fitted = {structure_sha256(atoms) for atoms in node.outputs.dataset.get_dataset()}
    labels = check.dataset.get_dataset()
    assert len(labels) == 2 and not fitted & {structure_sha256(atoms) for atoms in labels}
    with run.outputs.trajectory.as_path() as path, Trajectory(path) as trajectory:
        for atoms, frame in zip(labels, (10, 20), strict=True):  # of 20 after the first
            apart = atoms.positions - trajectory.atoms(frame).positions
            assert np.abs(apart - np.round(apart @ np.linalg.inv(atoms.cell)) @ atoms.cell.array).max() < 1e-6
    potential = node.outputs.potential.load()
    wrong = np.concatenate([potential.compute(atoms).forces - atoms.get_forces() for atoms in labels])
    errors = check.potential_errors
    assert errors['forces_rmse_meV_per_angstrom'] == pytest.approx(1000 * np.sqrt(np.mean(wrong**2)), rel=1e-6)
    of_sodium = np.concatenate([atoms.symbols == 'Na' for atoms in labels])
    expected = 1000 * np.sqrt(np.mean(wrong[of_sodium] ** 2))
    judged = errors['calibration']['forces_by_species']['Na']
    assert judged['real_rmse_meV_per_angstrom'] == pytest.approx(expected, rel=1e-6)
    assert check.efg_errors['ions'] == 14 and 'forces on Na, RMSE' in found.output


@pytest.mark.slow
def test_models_of_ones_own_are_checked_up_to_where_a_guard_stops_them(salt, ionic, command, tmp_path):
    _, node = salt
    (tmp_path / 'hot.yaml').write_text(yaml.safe_dump({'md': {'parameters': {'timestep': 0.5, 'every': 1}}}))
    cell = node.outputs.check.dataset.get_structure(0).store()
    given = ('--potential', node.outputs.potential.pk, '--engine', 'gpaw', '--label-code', 'ionic@localhost')
    hot = ('--temperature', 20000, '--overrides', tmp_path / 'hot.yaml', '--frames', 3)
    found = command('launch', 'check-models', cell.pk, *given, *hot)
    assert found.exit_code == 0, found.output
    assert 'stopped at step' in found.output and 'forces on Cl, RMSE' in found.output
    assert 'ω_Q' not in found.output


@pytest.mark.slow
def test_no_fit_sees_what_is_withheld_and_all_labels_know_their_calculation(salt):
    _, node = salt
    withheld = {structure_sha256(atoms) for atoms in node.outputs.test_dataset.get_dataset()}
    assert len(withheld) == 2
    assert not withheld & {structure_sha256(atoms) for atoms in node.outputs.dataset.get_dataset()}
    assert all(orm.load_node(label.row['calculation_uuid']).is_finished_ok for label in labels_behind(node.outputs.tau))


@pytest.mark.slow
def test_it_tells_labels_errors_and_costs_while_it_runs_and_in_the_end(salt, command, tmp_path):
    found, node = salt
    for said in (
        'cells of 16 atoms',
        'a label costs',
        'more may be asked for',
        'core hours so far',
        'Ended: goal reached',
    ):
        assert said in found.output
    assert command('report', node.pk, '-o', tmp_path).exit_code == 0
    page = (tmp_path / 'index.html').read_text()
    for said in ('goal reached', 'KNa₇Cl₈', 'Errors by generation', 'runs that explore', '²³Na'):
        assert said in page, said


@pytest.mark.slow
def test_launched_again_it_labels_nothing_twice(salt, launch, ionic):
    """Runs and fits with the inputs that they had before are taken from the cache: what differs would be run."""
    _, before = salt
    computed = ionic.computed
    with contextlib.ExitStack() as cached:
        for step in ('draw', 'md', 'fit_potential', 'fit_efg', 'select', 'acf', 'analyse'):
            cached.enter_context(enable_caching(identifier=f'aiida.calculations:ufpnmr.{step}'))
        _, node = launch(MIXED, '--ion', 'Na', '--labels', 22, '--temperature', 300)
    jobs = [one for one in node.called_descendants if isinstance(one, orm.CalcJobNode)]
    run = {one.process_type.rpartition('.')[2] for one in jobs if not one.base.caching.is_created_from_cache}
    assert not run
    assert ionic.computed == computed > 0
    assert node.outputs.dataset.sha256 == before.outputs.dataset.sha256
    assert node.outputs.potential.sha256 == before.outputs.potential.sha256
    assert node.outputs.material['labels_tried'] == before.outputs.material['labels_tried']


@pytest.mark.slow
def test_silver_has_no_efg_so_hops_and_diffusion_are_the_answer_and_labels_are_kept_to(
    launch, ionic, command, tmp_path
):
    computed = ionic.computed
    found, node = launch(SILVER, '--ion', 'Ag', '--labels', 9, overrides=WITHOUT_EFG)
    assert node.exit_status == 501 and 'labels spent' in node.exit_message and found.exit_code == 1
    assert ionic.computed - computed <= 9 and node.outputs.material['labels_tried'] == 9
    assert 'efg_model' not in node.outputs and 'acf' not in node.outputs
    answer = node.outputs.tau.get_dict()
    assert answer['verdict'] == 'no EFG' and '109Ag has spin 1/2' in answer['reason']
    assert 'hop_rate_per_s' in answer and node.outputs.msd.results['species'] == 'Ag'
    assert 'no quadrupole moment' in found.output and 'no EFG' in found.output
    assert command('report', node.pk, '-o', tmp_path).exit_code == 0
    page = (tmp_path / 'index.html').read_text()
    assert 'labels spent' in page and '109Ag has spin 1/2' in page and 'EFG model' not in page


@pytest.mark.slow
def test_core_hours_are_kept_to(launch, ionic):
    """Of a second of CPU time, labels are a part, the runs and fits of one generation are more."""
    computed = ionic.computed
    text = SILVER.replace('6.0', '6.1')
    found, node = launch(text, '--ion', 'Ag', '--core-hours', 1 / 3600, overrides=WITHOUT_EFG)
    assert node.exit_status == 501 and 'core hours spent' in node.exit_message
    assert 4 <= ionic.computed - computed <= 10 and 'tau' in node.outputs
    spent = [one for one in node.called if one.process_class is LabelWorkChain]
    assert len(spent) in (1, 2) and core_hours(node.called_descendants) > 0


@pytest.mark.slow
def test_a_guide_that_is_missing_is_one_line_before_anything_is_labelled(launch, ionic):
    computed = ionic.computed
    found, node = launch(SILVER, '--ion', 'Ag', '--guide', 'chgnet', overrides=WITHOUT_EFG)
    assert node.exit_status == 401 and "pip install 'aiida-ufpnmr[guide]'" in found.output
    assert ionic.computed == computed


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (('--ion', 'Li'), "the structures hold no 'Li', only Cl, K, Na; say whose NMR is meant"),
        (('--ion', 'Na', '--labels', 3), 'max_labels: must be at least 8, not 3'),
        (('--ion', 'Na', '--charges', 'Xx=1'), 'is not the charge of one more element'),
        (('--ion', 'Na', '--charges', 'Cl=-2'), 'salt.cif: the charges of'),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(launch, given, message):
    found, node = launch(MIXED, *given)
    assert message in str(found.exception) and node is None and len(str(found.exception).splitlines()) == 1


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'cell': 5}, 'overrides.yaml: cell must be "name: value" lines, not 5'),
        ({'cell': {'number': 'two'}}, "overrides.yaml: cell: number must be a whole number, not 'two'"),
        (
            {'learning': {'goal': {'omega_q_mae_khz': float('nan')}}},
            'omega_q_mae_khz must be a number above 0, not nan',
        ),
    ],
)
def test_mistakes_in_overrides_name_their_file_and_place(launch, given, message):
    found, node = launch(MIXED, '--ion', 'Na', overrides=given)
    assert message in str(found.exception) and 'overrides.yaml' in str(found.exception) and node is None


def test_an_ion_without_a_name_is_refused(launch):
    found, node = launch(MIXED, '--ion', '')
    assert found.exit_code == 2 and 'give the element or isotope' in found.output and node is None


def test_a_cell_that_is_too_large_is_refused_with_the_name_of_the_crystal(launch):
    found, node = launch(MIXED, '--ion', 'Na', overrides={**OVERRIDES, 'cell': {'least_height_angstrom': 40.0}})
    assert 'salt.cif' in str(found.exception) and 'more than most_atoms' in str(found.exception) and node is None


def test_core_hours_pay_for_whole_labels_after_what_comes_before_them():
    assert affordable(1.0, 0.25, 0.1) == 7 and affordable(1.0, 1.0, 0.1) == 0
    assert affordable(1.0, 0.25, None) is None and affordable(0.3, 0.25, 0.1) == 0


def test_a_label_far_below_the_crystal_is_noticed(dataset):
    """Of labelled structures, the third as the crystal that it were: the lowest is below it by their difference."""
    labelled = [atoms for atoms in dataset.get_dataset() if len(atoms) == 32]
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in labelled]
    for atoms in labelled:
        atoms.info['config_type'] = 'rattled'
    assert depth_below_crystal(DatasetData.of(labelled)) == 0.0
    labelled[2].info['config_type'] = 'as_it_is'
    assert depth_below_crystal(DatasetData.of(labelled)) == pytest.approx(energies[2] - min(energies))


def test_no_jobs_have_cost_nothing_and_labels_of_no_job_have_no_price(dataset):
    assert core_hours([]) == 0.0 and label_core_hours(dataset) is None


def test_ions_are_elements_or_isotopes_of_the_structures():
    assert ion_of('6Li', ['Li', 'Cl']) == ('Li', '6Li', None) and ion_of('Ag', ['Ag', 'I']) == ('Ag', None, '109Ag')
    assert ion_of('H', ['H', 'O']) == ('H', None, None) and ion_of('1H', ['H', 'O']).spin_half == '1H'
    with pytest.raises(ValueError, match="no isotope with a quadrupole moment known for 'Th'"):
        ion_of('Th', ['Th', 'O'])


def test_a_fit_of_the_efg_is_of_the_ion_and_gone_where_that_has_no_quadrupole_moment():
    assert with_ion({'fit_efg': {}}, '37Cl', ['Na', 'Cl'])['fit_efg'] == {
        'parameters': {'species': 'Cl'}, 'settings': {'isotope': '37Cl'},
    }  # fmt: skip
    assert (
        with_ion({'fit_efg': {'parameters': {'species': 'Na'}}}, None, ['Na'])['fit_efg']['parameters']['species']
        == 'Na'
    )
    assert with_ion({'fit_efg': {}}, 'Ag', ['Ag', 'I']) == {}
    with pytest.raises(ValueError, match="hold no 'Li', only Na; say whose NMR"):
        with_ion({'fit_efg': {}}, None, ['Na'])


def test_protocols_raise_temperatures_up_to_above_that_of_the_answer(code, ionic):
    salt = orm.StructureData(cell=np.diag([5.64] * 3))
    for place, symbol in (((0, 0, 0), 'Na'), ((2.82, 0, 0), 'Cl')):
        salt.append_atom(position=place, symbols=symbol)
    for protocol in ('fast', 'balanced', 'stringent'):
        below = {'dynamic_nmr': {'md': {'parameters': {'temperature': 600.0}}}}
        builder = NewMaterialWorkChain.get_builder_from_protocol(code, ionic.code, 'gpaw', salt, 'Na', protocol, below)
        stages = builder.learning.exploration['temperatures_K']
        assert stages == sorted(stages) and stages[-1][0] >= 600.0 and len(stages) > 1
        assert len(stages) <= builder.learning.max_generations.value
        steps = builder.learning.exploration['steps']
        assert steps == sorted(steps) and len(steps) == len(stages)
    given = {'learning': {'md': {'parameters': {'steps': 10}}}}
    builder = NewMaterialWorkChain.get_builder_from_protocol(code, ionic.code, 'gpaw', salt, 'Na', 'fast', given)
    assert 'steps' not in builder.learning.exploration and builder.learning.md.parameters['steps'] == 10


def test_hydrogen_takes_short_steps_in_all_dynamics_unless_others_are_asked_for(code, ionic):
    hydride = orm.StructureData(cell=np.diag([4.08] * 3))
    for place, symbol in (((0, 0, 0), 'Li'), ((2.04, 0, 0), 'H')):
        hydride.append_atom(position=place, symbols=symbol)

    def steps_fs(**below):
        below = {'draw': {'parameters': {'guide': 'chgnet'}}, **below}
        made = NewMaterialWorkChain.get_builder_from_protocol(code, ionic.code, 'gpaw', hydride, 'Li', None, below)
        dynamics = (made.learning.md.parameters, made.dynamic_nmr.md.parameters)
        return [one['timestep'] for one in dynamics], made.draw.parameters['guide_timestep']

    assert steps_fs() == ([0.5, 0.5], 0.5)
    assert steps_fs(draw={'parameters': {'guide': 'chgnet', 'guide_timestep': 0.25}}) == ([0.5, 0.5], 0.25)


def test_of_more_structures_than_are_paid_for_squeezed_ones_keep_a_third(aiida_profile):
    settings = DrawSettings(number=9, squeeze_share=(0.72, 0.82), squeeze_share_apart=(0.6, 0.7))
    salt = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
    cells = {
        f'cell_{n}': DatasetData.of(drawn_cells(salt, replace(settings, number=number, seed=n))).store()
        for n, number in enumerate((5, 4))
    }
    once = [row['group'] for row in cells['cell_0'].rows if row['group'].startswith('squeezed')]
    assert len(once) == 6
    for most, n_squeezed in ((20, 6), (15, 6), (14, 5), (9, 3), (4, 1)):
        first = gathered(orm.Int(most), **cells)
        kept = [row['group'] for row in first.rows]
        assert len(kept) == min(most, 15)
        squeezed = [group for group in kept if group.startswith('squeezed')]
        assert len(squeezed) == n_squeezed
        assert len(set(squeezed)) == min(3, n_squeezed), 'one of each pair before another of any'
        weights = [own_weight(atoms) for atoms in first.get_dataset()]
        assert weights == [0.1 if group.startswith('squeezed') else 1.0 for group in kept]
