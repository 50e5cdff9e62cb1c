"""Claims about glasses in active learning: packed in each generation, watched, and labelled where their units break."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from conftest import EFG_SETTINGS, POTENTIAL_SETTINGS

from aiida_ufpnmr.calculations.learning_sets import packed_glass, with_structures
from aiida_ufpnmr.data import DatasetData
from aiida_ufpnmr.engine.structure.units import find_units
from aiida_ufpnmr.workflows.active_learning import ActiveLearningWorkChain
from aiida_ufpnmr.workflows.label import labels_tried
from aiida_ufpnmr.workflows.learning_generation import SEEDS, LearningGenerationWorkChain
from aiida_ufpnmr.workflows.md import MdWorkChain

GLASS = {'units': {'PS4': 4}, 'ions': 'Li', 'density_g_per_cm3': 1.75, 'seed': 1}
#: With bonds P–P, of which the labels hold none.
PAIRED = {'units': {'P2S6': 2}, 'ions': 'Li', 'density_g_per_cm3': 1.75}
OVERRIDES = {
    'max_generations': 1,
    'patience': 9,
    'max_labels': 6,
    'exploration': {'temperatures_K': [4000.0], 'volume_strains': [0.0]},
    'glasses': {'glass': {**GLASS, 'number': 2}, 'paired': PAIRED},
    'fit_potential': {'settings': POTENTIAL_SETTINGS},
    'fit_efg': {'settings': EFG_SETTINGS},
    'md': {
        'parameters': {
            'steps': 400, 'every': 5, 'timestep': 1.0, 'guard_units': 10, 'guard_fraction': 0.5, 'grade_every': 0,
        }
    },
    'select': {'parameters': {'number': 6, 'max_per_source': 3}},
    'label': {'max_concurrent': 4, 'min_success_fraction': 0.5},
}  # fmt: skip


def builder(code, castep, dataset, structure, **changes):
    label = {**OVERRIDES['label'], 'castep': castep.overrides()}
    return ActiveLearningWorkChain.get_builder_from_protocol(
        code, castep.code, 'castep', dataset, {'crystal': structure}, None, 'fast',
        {**OVERRIDES, 'label': label, **changes},
    )  # fmt: skip


@pytest.fixture(scope='module')
def generation(aiida_profile, code, castep, dataset_file):
    """A generation whose potential knows few labels, so that units break."""
    dataset = DatasetData(dataset_file).store()
    _, node = run_get_node(builder(code, castep, dataset, dataset.get_structure(0)))
    assert node.exit_status == 501, node.exit_message
    assert node.outputs.history['generations'][-1]['runs_with_broken_units'] > 0
    return [called for called in node.called if called.process_class is LearningGenerationWorkChain][-1]


@pytest.mark.slow
def test_glasses_are_packed_anew_and_run_beside_the_crystals(generation):
    packed = [called for called in generation.called if called.process_label == 'packed_glass']
    assert [node.inputs.glass['seed'] for node in packed] == [1 + SEEDS, 2 + SEEDS, SEEDS]
    assert {node.inputs.potential.uuid for node in packed} == {generation.inputs.potential.uuid}
    runs = [called for called in generation.called if called.process_class is MdWorkChain]
    starts = {run.inputs.md.structure.uuid for run in runs}
    assert len(runs) == 4 and {node.outputs.structure.uuid for node in packed} < starts


@pytest.mark.slow
def test_a_run_whose_units_break_is_a_finding_whose_frames_are_labelled(generation):
    jobs = [job for job in generation.called_descendants if job.process_label == 'MdCalculation']
    broken = [job for job in jobs if job.exit_status == 415]
    assert broken and all('stopped_trajectory' in job.outputs and 'at step' in job.exit_message for job in broken)
    names = {f'{name}_4000K_generation1' for name in ('crystal', 'glass_0', 'glass_1', 'paired_0')}
    chosen = generation.outputs.chosen.creator.outputs.results['chosen']
    assert any(one.get('units_broke') for one in chosen[:2]) and {one['source'] for one in chosen} <= {
        f'{name}.h5' for name in names
    }
    first = [one.get('units_broke', False) for one in chosen]
    assert first == sorted(first, reverse=True)
    labelled = {row['group'] for row in generation.outputs.dataset.rows}
    assert {one['source'].removesuffix('.h5') for one in chosen if one.get('units_broke')} <= labelled


@pytest.mark.slow
def test_a_glass_whose_units_break_when_it_is_relaxed_is_labelled_itself(generation):
    packed = [called for called in generation.called if called.process_label == 'packed_glass']
    whole = [node.outputs.units['is_whole'] for node in packed]
    groups = {row['group'] for row in generation.outputs.dataset.rows}
    assert whole == [True, True, False] and groups & {'glass_0', 'glass_1', 'paired_0'} == {'paired_0'}


@pytest.mark.slow
def test_broken_glasses_are_among_the_labels_that_a_budget_allows(generation):
    chosen = generation.outputs.chosen.creator.outputs.results['chosen']
    assert generation.inputs.max_labels == 6 == labels_tried(generation) == len(chosen) + 1


def test_a_packed_glass_has_its_units_and_one_that_does_not_fit_is_refused(potential):
    made, node = packed_glass.run_get_node(orm.Dict(GLASS), potential)
    assert node.is_finished_ok
    found = find_units(made['structure'].get_ase()).counts
    assert made['units']['packed'] == {'PS4': 4} and made['units']['whole'] == {'PS4': found.get('PS4', 0)}
    _, node = packed_glass.run_get_node(orm.Dict({**GLASS, 'density_g_per_cm3': 9.0}), potential)
    assert node.exit_status == 410 and 'do not fit at 9 g/cm³' in node.exit_message


def test_structures_are_put_in_front_of_what_is_labelled(dataset, structure):
    found = with_structures(dataset, glass_1=structure)
    assert [row['group'] for row in found.rows] == ['glass_1', *(row['group'] for row in dataset.rows)]


@pytest.mark.parametrize(
    ('glasses', 'message'),
    [
        ({'glass': {**GLASS, 'number': 0}}, 'glass: number must be a number of cells, not 0'),
        ({'glass': {**GLASS, 'density': 1.8}}, "glass: unknown setting 'density'"),
        ({'glass': {'units': {'PS4': 4}, 'ions': 'Li'}}, 'glass: .*density_g_per_cm3'),
        ({'a-b': GLASS}, "'a-b' is no name"),
    ],
)
def test_mistakes_of_glasses_are_named_before_anything_runs(code, castep, dataset, structure, glasses, message):
    with pytest.raises(ValueError, match=message):
        builder(code, castep, dataset, structure, glasses=glasses)
