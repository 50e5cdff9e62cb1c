"""Claims about active learning under AiiDA, with a stand-in for CASTEP whose physics is known."""

from __future__ import annotations

import zipfile
from collections import Counter

import castep_stand_in
import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_ufpnmr.data import DatasetData
from aiida_ufpnmr.tools.queries import labels_behind
from aiida_ufpnmr.workflows.active_learning import ActiveLearningWorkChain, is_known
from aiida_ufpnmr.workflows.learning_generation import LearningGenerationWorkChain, n_stages, with_length
from aiida_ufpnmr.workflows.md import MdWorkChain

pytestmark = pytest.mark.slow

#: Soft spheres with charges that neutralise each other, in the nearest images.
CELL = np.diag([6.0, 6.2, 6.4])
PLACES = np.array([[0, 0, 0], [3.0, 3.1, 0], [0, 3.1, 3.2], [3.0, 0, 3.2]])
SYMBOLS = 'LiSLiS'


def labelled(shift: float, seed: int, group: str) -> Atoms:
    """A structure with the labels that the stand-in gives."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(SYMBOLS, PLACES + shift * rng.normal(size=PLACES.shape), cell=CELL, pbc=True)
    charges = [castep_stand_in.ELEMENTS[symbol][1] for symbol in atoms.get_chemical_symbols()]
    energy, forces, stress, efg = castep_stand_in.labels(atoms.cell.tolist(), atoms.positions.tolist(), charges)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.array(forces))
    atoms.arrays['efg'] = np.array(efg)
    atoms.info = {'config_type': group, 'label_id': f'begin-{seed}'}
    return atoms


@pytest.fixture(scope='module')
def begin(aiida_profile):
    return DatasetData.of(labelled(0.05, seed, f'cold{seed % 3}') for seed in range(6)).store()


@pytest.fixture(scope='module')
def test_set(aiida_profile):
    return DatasetData.of(labelled(0.3, 100 + seed, 'hot') for seed in range(6)).store()


OVERRIDES = {
    'patience': 1,
    'exploration': {'temperatures_K': [200.0, 1500.0], 'volume_strains': [0.0]},
    'fit_potential': {
        'settings': {
            'bond_intervals': 4,
            'third_intervals': 5,
            'pair_intervals': 8,
            'pair_cutoff': 6.0,
            'triplet_cutoff': 5.0,
            'folds': 3,
        }
    },
    'fit_efg': {'settings': {'n_max': 3, 'l_max': 2, 'mixed_channels': 4, 'folds': 3, 'penalty': 0.1}},
    'md': {'parameters': {'steps': 300, 'every': 10, 'timestep': 1.0, 'grade_limit': 1000.0}},
    'select': {'parameters': {'number': 4, 'max_per_source': 3}},
    'label': {'max_concurrent': 4, 'min_success_fraction': 0.5},
}


def builder(code, castep, begin, test_set, *behaviours, **changes):
    from aiida_ufpnmr.workflows.protocols.mixin import merged

    overrides = merged(OVERRIDES, changes)
    overrides['label'] = merged(overrides['label'], {'castep': castep.overrides(*behaviours)})
    start = orm.StructureData(ase=Atoms(SYMBOLS, PLACES, cell=CELL, pbc=True))
    return ActiveLearningWorkChain.get_builder_from_protocol(
        code, castep.code, 'castep', begin, {'crystal': start}, test_set, 'fast', overrides
    )


@pytest.fixture(scope='module')
def learned(code, castep, begin, test_set):
    """Two generations, in the first of which the labels of one structure fail."""
    exploration = {'steps': [300, 400]}
    return run_get_node(
        builder(code, castep, begin, test_set, 'ok', 'crash', max_generations=2, exploration=exploration)
    )


def test_labels_grow_and_errors_fall(learned, begin):
    outputs, node = learned
    assert node.exit_status in (0, 501), node.exit_message
    history = outputs['history']['generations']
    assert [entry['generation'] for entry in history] == [0, 1, 2]
    lost = [entry.get('chosen', 0) - entry['labels_new'] for entry in history]
    assert lost == [0, 1, 0]  # one failed, and stopped nothing
    assert history[-1]['forces_rmse_meV_per_angstrom'] < 0.8 * history[0]['forces_rmse_meV_per_angstrom']
    new = sum(entry['labels_new'] for entry in history)
    assert new >= 5 and history[-1]['labels'] == len(outputs['dataset'].rows) == len(begin.rows) + new
    assert {'potential', 'efg_model', 'potential_errors', 'efg_errors'} <= set(outputs)


def test_a_generation_lies_under_one_node_with_all_that_was_done(learned):
    _, node = learned
    generations = [called for called in node.called if called.process_class is LearningGenerationWorkChain]
    assert len(generations) == 3
    assert 'chosen' in generations[1].outputs and 'chosen' not in generations[0].outputs
    calls = {link.link_label for link in generations[1].base.links.get_outgoing() if 'call' in link.link_type.value}
    assert {
        'select',
        'label',
        'fit_potential',
        'fit_efg',
        'crystal_200K_generation1',
        'crystal_1500K_generation1',
    } <= calls


def test_runs_are_as_long_as_those_of_their_stage_to_which_they_go_on_where_none_was_stopped(learned):
    _, node = learned
    generations = [called for called in node.called if called.process_class is LearningGenerationWorkChain]
    stage, seen = 1, []
    for generation in generations[1:]:
        runs = [run for run in generation.called if run.process_class is MdWorkChain]
        assert {run.inputs.md.parameters['steps'] for run in runs} == {{1: 300, 2: 400}[stage]}
        seen.append(any('stopped_trajectory' in run.outputs for run in runs))
        stage += not seen[-1]
    reports = node.outputs.history['generations'][1:]
    assert [bool(report['runs_stopped_by_guard']) for report in reports] == seen


def test_behind_the_models_are_all_labels_and_each_knows_its_calculation(learned, begin, test_set):
    outputs, _ = learned
    found = labels_behind(outputs['potential'])
    assert len(found) == len(outputs['dataset'].rows) + len(test_set.rows)  # each once
    new = [label.row for label in found if 'calculation_uuid' in label.row]
    assert len(new) == len(outputs['dataset'].rows) - len(begin.rows) > 0 and all(
        orm.load_node(row['calculation_uuid']).is_finished_ok for row in new
    )
    assert {row['group'] for row in new} <= {f'crystal_{t}K_generation{g}' for t in (200, 1500) for g in (1, 2)}


def test_a_slim_archive_leaves_out_what_can_be_made_again_and_makes_it_where_it_is_needed(learned, command, tmp_path):
    outputs, node = learned
    archive = tmp_path / 'slim.aiida'
    assert command('archive', 'create', node.pk, '--slim', '-o', archive).exit_code == 0
    with zipfile.ZipFile(archive) as file:
        held = {name.removeprefix('repo/') for name in file.namelist()}

    def is_there(data):
        (entry,) = data.base.repository.metadata['o'].values()
        return entry['k'] in held

    generations = [called for called in node.called if called.process_class is LearningGenerationWorkChain]
    for name in ('potential', 'efg_model'):
        assert is_there(outputs[name]) and not is_there(generations[0].outputs[name])
    assert is_there(generations[0].outputs.dataset) and is_there(generations[1].outputs.chosen)
    small = tmp_path / 'small.aiida'
    found = command('archive', 'create', node.pk, '--most-mb', 0.1, '-o', small)
    assert found.exit_code == 1 and 'more than the 0.1 MB that were asked for' in found.output  # and it is there
    with zipfile.ZipFile(archive) as one, zipfile.ZipFile(small) as other:
        assert len(set(one.namelist()) - set(other.namelist())) == 2  # without the models that it gives, too
    result = command('archive', 'verify', archive, '--rerun', 'select')
    assert result.exit_code == 0, (result.output, result.exception)
    rows = [line.split() for line in result.output.splitlines()]
    again = Counter((row[0], row[2]) for row in rows if row[3:4] == ['identical'])
    # two choices, for which four runs and the models of the two generations before were made again
    assert again['select', 'dataset'] == 2 and again['md', 'trajectory'] + again['md', 'stopped_trajectory'] == 4
    assert again['fit_potential', 'potential'] == again['fit_efg', 'efg_model'] == 2


def test_a_second_chain_goes_on_from_where_the_first_ended(learned, code, castep, test_set):
    outputs, _ = learned
    again, node = run_get_node(builder(code, castep, outputs['dataset'], test_set, max_generations=0))
    history = again['history']['generations']
    assert len(history) == 1 and history[0]['labels'] == len(outputs['dataset'].rows)
    assert again['potential'].sha256 == outputs['potential'].sha256


@pytest.fixture(scope='module')
def troubled(code, castep, begin, test_set, tmp_path_factory):
    """One generation with strained cells, settings searched anew and a hot run that fails: outputs and generations."""
    script = tmp_path_factory.mktemp('too-cold') / 'ufpnmr'
    script.write_text(
        f'#!/bin/bash\n[[ "$*" == "md "*"--temperature 1500"* ]] && exit 1\nexec {code.filepath_executable} "$@"\n'
    )
    script.chmod(0o755)
    too_cold = orm.InstalledCode(
        label='too-cold', computer=code.computer, filepath_executable=str(script), with_mpi=False
    ).store()
    asked = {'max_generations': 1, 'retune_every': 1, 'exploration': {'volume_strains': [-0.05, 0.0]}}
    outputs, node = run_get_node(builder(too_cold, castep, begin, test_set, **asked))
    assert node.exit_status in (0, 501), node.exit_message
    return outputs, [called for called in node.called if called.process_class is LearningGenerationWorkChain]


def test_a_generation_goes_on_without_a_run_that_fails(troubled):
    outputs, _ = troubled
    last = outputs['history']['generations'][-1]
    assert (last['runs'], last['runs_failed']) == (2, 1)
    assert last['chosen'] == last['labels_new'] > 0
    assert {row['group'] for row in outputs['dataset'].rows[-last['chosen'] :]} == {'crystal_200K_generation1'}


def test_settings_are_searched_anew_where_asked(troubled):
    outputs, generations = troubled
    for fit in ('fit_potential', 'fit_efg'):
        tuned = [generation.inputs[fit].parameters.get_dict().get('tune', False) for generation in generations]
        assert tuned == [False, True]
    assert 'tuning' in outputs['potential_errors'].get_dict() and 'tuning' in outputs['efg_errors'].get_dict()


def test_cells_are_strained_by_turns(troubled):
    _, generations = troubled
    jobs = [job for job in generations[1].called_descendants if job.process_label == 'MdCalculation']
    volumes = {job.inputs.parameters['temperature']: job.inputs.structure.get_cell_volume() for job in jobs}
    assert sorted(volumes.values()) == pytest.approx([0.95 * np.linalg.det(CELL), np.linalg.det(CELL)])


def test_where_no_label_can_be_had_the_models_so_far_are_given(learned, code, castep, begin, test_set):
    """The fits and runs before the labels are those of the two generations, so their results are taken over."""
    plan = ['refused'] * 20
    again = {'max_generations': 1, 'label': {'reuse': False}}
    with enable_caching():
        outputs, node = run_get_node(builder(code, castep, begin, test_set, *plan, **again))
    assert node.exit_status == 401 and 'could be labelled' in node.exit_message
    assert 'potential' in outputs and [e['generation'] for e in outputs['history']['generations']] == [0]


def test_long_runs_write_no_more_frames_and_runs_without_stages_are_as_they_were():
    given = {'every': 50, 'steps': 7}
    exploration = {'temperatures_K': [[1.0]], 'steps': [20_000, 500_000]}
    assert n_stages(exploration) == 2
    assert with_length(given, exploration, 1) == {'every': 50, 'steps': 20_000}
    assert with_length(given, exploration, 2) == with_length(given, exploration, 9) == {'every': 250, 'steps': 500_000}
    assert with_length(given, {'temperatures_K': [1.0]}, 2) == given


def test_what_a_run_was_stopped_in_is_not_known():
    assert is_known({'fraction_above_grade_1': 0.04, 'runs_stopped_by_guard': 0}, 0.05)
    assert not is_known({'fraction_above_grade_1': 0.06, 'runs_stopped_by_guard': 0}, 0.05)
    assert not is_known({'fraction_above_grade_1': 0.0, 'runs_stopped_by_guard': 1}, 0.05)
    assert not is_known({}, 0.05)  # nothing was explored


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'exploration': {'temperatures_K': []}}, 'temperatures_K'),
        ({'exploration': {'temperatures_K': [[300.0], []]}}, 'a list of temperatures above 0, or a list of such lists'),
        ({'goal': {'forces': 100.0}}, "unknown error 'forces'"),
        ({'max_labels': -1}, 'max_labels: must not be negative'),
        ({'exploration': {'temperature': [1.0]}}, "unknown entry 'temperature'"),
        ({'exploration': {'replicas': 0}}, 'replicas must be a number of runs'),
        ({'exploration': {'steps': [100, 0]}}, 'steps must be a list of numbers of steps by stage'),
        ({'exploration': {'volume_strains': [0.4]}}, 'volume_strains must lie between'),
        ({'exploration': {'temperatures_K': [[]]}}, 'temperatures_K must be a list'),
        ({'label': {'castep': {'nonsense': 1}}}, 'nonsense'),
    ],
)
def test_mistakes_are_named_before_anything_runs(code, castep, begin, test_set, changes, message):
    with pytest.raises(ValueError, match=message):
        builder(code, castep, begin, test_set, **changes)


def test_launching_prints_errors_by_generation(learned, code, castep, command, begin, tmp_path):
    import yaml
    from ase.io import write

    write(tmp_path / 'start.extxyz', Atoms(SYMBOLS, PLACES, cell=CELL, pbc=True))
    (tmp_path / 'overrides.yaml').write_text(yaml.safe_dump({**OVERRIDES, 'max_generations': 0}))
    given = (begin.pk, f'crystal={tmp_path / "start.extxyz"}', '--engine', 'castep', '--protocol', 'fast')
    found = command('launch', 'active-learning', *given, '--overrides', tmp_path / 'overrides.yaml')
    assert found.exit_code == 1 and 'F, meV/Å' in found.output and 'potential #' in found.output  # not converged
    wrong = command('launch', 'active-learning', begin.pk, 'start.extxyz', '--engine', 'castep')
    assert 'NAME=FILE' in str(wrong.exception)
