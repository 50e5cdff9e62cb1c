"""Claims about a labelling run of CASTEP and its restarts. A stand-in for CASTEP runs, or has left its files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import castep_stand_in
import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, ParserFactory, WorkflowFactory

from aiida_ufpnmr.engine.dataset import energy, forces, stress
from aiida_ufpnmr.engine.dft.castep_settings import LADDER

CALCULATION = CalculationFactory('ufpnmr.label_castep')
CHAIN = WorkflowFactory('ufpnmr.label_castep')
CODES = CALCULATION.exit_codes


def structure_of(sites, cell=((7.0, 0.0, 0.0), (1.5, 6.5, 0.0), (-0.8, 1.1, 8.0)), pbc=(True, True, True)):
    structure = orm.StructureData(cell=cell, pbc=pbc)
    for name, position in sites:
        structure.append_atom(symbols=name.rstrip('0123456789'), name=name, position=position)
    return structure


#: Species in no order, two kinds of Li, a triclinic cell.
SITES = (
    ('S', (0.1, 0.0, 0.0)), ('Li1', (2.2, 0.3, 0.1)), ('P', (0.2, 3.1, 0.4)), ('Li', (0.3, 0.2, 3.3)),
    ('Li1', (2.4, 2.5, 2.9)), ('S', (4.1, 1.9, -1.5)), ('Li', (4.3, 4.4, 9.1)),
)  # fmt: skip


@pytest.fixture
def shuffled() -> orm.StructureData:
    return structure_of(SITES)


def truth(structure):
    """What the stand-in computes, in the order of the sites."""
    atoms = structure.get_ase()
    charges = [castep_stand_in.ELEMENTS[symbol][1] for symbol in atoms.get_chemical_symbols()]
    return castep_stand_in.labels(atoms.cell.tolist(), atoms.positions.tolist(), charges)


def assert_labels_are_true(structure, dataset):
    (atoms,) = dataset.get_dataset().structures
    expected = truth(structure)
    assert energy(atoms) == pytest.approx(expected[0], abs=1e-8)
    np.testing.assert_allclose(forces(atoms), expected[1], atol=1e-5)  # CASTEP prints five digits
    np.testing.assert_allclose(stress(atoms), expected[2], atol=1e-8)
    np.testing.assert_allclose(atoms.arrays['efg'], expected[3], atol=1e-8)  # eight digits in extended XYZ
    assert list(atoms.symbols) == [site.kind_name.rstrip('1') for site in structure.sites]


@pytest.fixture
def inputs(castep, shuffled):
    kpoints = orm.KpointsData()
    kpoints.set_kpoints_mesh([2, 2, 1])
    return {
        'code': castep.code,
        'structure': shuffled,
        'kpoints': kpoints,
        'parameters': {'PARAM': {'cut_off_energy': 400.0, 'fix_occupancy': True}},
        'pseudopotentials': {'Li': 'C19', 'Li1': '1|1.0|14|16|18|10U:20(qc=7)', 'P': 'C19', 'S': 'C19'},
    }


def prepared(**inputs):
    """The job's description and the files that it starts from."""
    process = instantiate_process(get_manager().create_runner(communicator=None), CALCULATION, **inputs)
    with SandboxFolder() as folder:
        info = process.prepare_for_submission(folder)
        return info, {name: Path(folder.get_abs_path(name)).read_text() for name in folder.get_content_list()}


def keywords(text: str) -> dict[str, str]:
    pairs = (line.partition(':') for line in text.splitlines() if ':' in line and not line.startswith('#'))
    return {name.strip(): value.strip() for name, _, value in pairs}


def test_one_run_asks_for_everything(inputs):
    info, files = prepared(**inputs)
    param = keywords(files['label.param'])
    assert (param['task'], param['magres_task'], param['calculate_stress']) == ('magres', 'efg', 'True')
    assert 'continuation' not in param and param['cut_off_energy'] == '400.0'
    assert 'Li:Li1 1|1.0|14|16|18|10U:20(qc=7)' in files['label.cell'] and 'P     C19' in files['label.cell']
    assert [code.cmdline_params for code in info.codes_info] == [['label']]
    assert 'label.magres' in info.retrieve_list and 'label.castep' in info.retrieve_list


def test_two_runs_where_energies_and_tensors_are_asked_for_separately(inputs):
    info, files = prepared(**inputs, separate_efg=True)
    first, second = keywords(files['label.param']), keywords(files['label-efg.param'])
    assert (first['task'], first['calculate_stress']) == ('singlepoint', 'True')
    assert (second['task'], second['continuation']) == ('magres', 'label.check') and 'calculate_stress' not in second
    assert files['label.cell'] == files['label-efg.cell']
    assert [code.cmdline_params for code in info.codes_info] == [['label'], ['label-efg']]
    assert 'label-efg.magres' in info.retrieve_list


def test_without_tensors_it_is_a_single_point(inputs):
    info, files = prepared(**inputs, efg=False)
    assert keywords(files['label.param'])['task'] == 'singlepoint'
    assert not [name for name in info.retrieve_list if str(name).endswith('.magres')]


def test_a_restart_goes_on_from_the_check_file(inputs, castep):
    folder = orm.RemoteData(remote_path='/somewhere', computer=castep.code.computer).store()
    info, files = prepared(**inputs, parent_folder=folder)
    assert keywords(files['label.param'])['continuation'] == 'parent/label.check'
    assert info.remote_symlink_list == [(folder.computer.uuid, '/somewhere', 'parent')]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'parameters': {'PARAM': {'task': 'phonon'}}}, 'task cannot be given'),
        ({'parameters': {'PARAM': {'ENERGY_UNIT': 'hartree'}}}, 'read in eV'),
        ({'parameters': {'CELLS': {}}}, 'unknown section'),
        ({'pseudopotentials': {'Li': 'C19', 'P': 'C19'}}, 'no pseudopotential for S'),
        ({'pseudopotentials': {'Li': 3}}, 'must be text'),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_submitted(inputs, change, message):
    with pytest.raises(ValueError, match=message):
        prepared(**{**inputs, **change})


def test_structures_that_are_no_crystals_are_refused(inputs):
    with pytest.raises(ValueError, match='periodic'):
        prepared(**{**inputs, 'structure': structure_of(SITES, pbc=(True, True, False))})


def test_partly_occupied_sites_are_refused(inputs):
    structure = orm.StructureData(cell=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    structure.append_atom(symbols='Li', weights=0.5, position=(0, 0, 0))
    with pytest.raises(ValueError, match='partly occupied'):
        prepared(**{**inputs, 'structure': structure})


NO_EXTRA = """
import sys
sys.modules['aiida_castep'] = None
import importlib, pkgutil
import aiida_ufpnmr
for module in pkgutil.walk_packages(aiida_ufpnmr.__path__, 'aiida_ufpnmr.'):
    importlib.import_module(module.name)
from aiida_ufpnmr.calculations.label_castep import LabelCastepCalculation, missing_extra
print(missing_extra())
assert 'kpoints' in LabelCastepCalculation.spec().inputs
"""


def test_everything_can_be_imported_without_aiida_castep(tmp_path):
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path)}
    ended = subprocess.run([sys.executable, '-c', NO_EXTRA], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert 'pip install aiida-ufpnmr[castep]' in ended.stdout


def run_stand_in(folder: Path, files: dict[str, str], behaviour: str) -> None:
    """Let the stand-in run on input files as a job would, in this very process."""
    for name, text in files.items():
        (folder / name).write_text(text)

    def die(*_):
        raise SystemExit

    for seed in ('label', 'label-efg'):
        if f'{seed}.param' in files:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(castep_stand_in.os, 'kill', die)
                try:
                    castep_stand_in.Castep(folder, seed, behaviour).run()
                except castep_stand_in.Refused as error:
                    (folder / f'{seed}.0001.err').write_text(f'{error}\nCurrent trace stack:\n castep\n')
                except SystemExit:
                    pass


def forged(computer, folder: Path, inputs: dict | None = None) -> orm.CalcJobNode:
    """The node of a job that has left its files in a folder."""
    node = orm.CalcJobNode(computer=computer, process_type='aiida.calculations:ufpnmr.label_castep')
    node.set_option('resources', {'num_machines': 1, 'num_mpiprocs_per_machine': 1})
    for label, value in (inputs or {}).items():
        given = value if isinstance(value, orm.Node) else orm.to_aiida_type(value)
        node.base.links.add_incoming(given.store(), link_type=LinkType.INPUT_CALC, link_label=label)
    node.store()
    retrieved = orm.FolderData()
    for pattern in ('*.castep', '*.magres', '*.err'):
        for path in folder.glob(pattern):
            retrieved.base.repository.put_object_from_bytes(path.read_bytes(), path.name)
    for label, output in (
        ('retrieved', retrieved),
        ('remote_folder', orm.RemoteData(remote_path=str(folder), computer=computer)),
    ):
        output.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=label)
        output.store()
    return node


@pytest.fixture
def remains(inputs, castep, tmp_path):
    """The node of a run that behaved in a given way, with the files that it left; only the stand-in itself is run."""

    def make(behaviour='ok', edit=None, **changes):
        given = {**inputs, **changes}
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        run_stand_in(folder, prepared(**given)[1], behaviour)
        if edit is not None:
            edit(folder)
        return forged(castep.code.computer, folder, {'efg': True, 'separate_efg': False, **given})

    return make


def parsed(node):
    outputs, parsing = ParserFactory('ufpnmr.label_castep').parse_from_node(node, store_provenance=False)
    return outputs or {}, parsing.exit_status, parsing.exit_message


@pytest.mark.parametrize('separate', [False, True], ids=['one run', 'two runs'])
def test_a_run_that_ended_well_gives_labels_in_the_order_of_the_sites(remains, shuffled, separate):
    outputs, status, _ = parsed(remains(separate_efg=separate))
    assert status == 0
    assert_labels_are_true(shuffled, outputs['dataset'])
    assert outputs['results']['castep_version'] == castep_stand_in.VERSION and outputs['timing'].get_dict() == {
        'wall_s': 2.0
    }


def test_rows_say_where_their_labels_come_from(remains):
    (row,) = parsed(remains())[0]['dataset'].rows
    assert (row['engine'], row['engine_version'], row['kpoints']) == (
        'castep',
        f'CASTEP {castep_stand_in.VERSION}',
        '2x2x1',
    )
    assert (row['cutoff_ev'], row['occupations']) == (400.0, 'fixed')
    assert row['pseudopotential_Li_Li1'].endswith('10U:20(qc=7)')
    assert len(row['source_sha256']) == len(row['settings_sha256']) == len(row['label_sha256']) == 64


def test_smeared_labels_say_so(remains):
    parameters = {'PARAM': {'cut_off_energy': 400.0, 'fix_occupancy': False}}
    outputs, _, _ = parsed(remains(parameters=parameters))
    (atoms,) = outputs['dataset'].get_dataset().structures
    assert outputs['dataset'].row(0)['occupations'] == 'smeared'
    assert atoms.calc.results['free_energy'] == pytest.approx(energy(atoms) - 1e-3, abs=1e-8)


def without(name):
    return lambda folder: (folder / name).unlink()


def cut(name, keep):
    def edit(folder):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: int(keep * len(text))])

    return edit


FAILURES = [
    ('refused', None, CODES.ERROR_INPUT_REFUSED, 'this input is refused'),
    ('crash', None, CODES.ERROR_CASTEP_FAILED, 'insufficient memory'),
    ('shieldings', None, CODES.ERROR_LABELS_MISSING, 'no EFG tensors'),
    ('killed early', None, CODES.ERROR_INTERRUPTED, ''),
    ('killed', None, CODES.ERROR_INTERRUPTED, ''),
    ('ok', cut('label.castep', 0.01), CODES.ERROR_INTERRUPTED, ''),
    ('ok', cut('label.castep', 0.6), CODES.ERROR_INTERRUPTED, ''),
    ('unconverged', None, CODES.ERROR_SCF_NOT_CONVERGED, '30 cycles'),
    ('few bands 12', None, CODES.ERROR_TOO_FEW_BANDS, '12 more'),
    ('out early', None, CODES.ERROR_OUT_OF_WALLTIME, ''),
    ('out of time', None, CODES.ERROR_OUT_OF_WALLTIME, ''),
    ('no output', None, CODES.ERROR_OUTPUT_MISSING, 'label.castep'),
    ('no magres', None, CODES.ERROR_OUTPUT_MISSING, 'label.magres'),
    ('cut magres', None, CODES.ERROR_OUTPUT_TRUNCATED, 'truncated'),
    ('stranger', None, CODES.ERROR_OUTPUT_MIXED_UP, 'from its site'),
    ('no stress', None, CODES.ERROR_NO_STRESS, ''),
]


@pytest.mark.parametrize(
    ('behaviour', 'edit', 'expected', 'message'), FAILURES, ids=[f'{f[0]}-{f[2].status}' for f in FAILURES]
)
def test_a_failed_run_leaves_an_exit_code_and_no_labels(remains, behaviour, edit, expected, message):
    outputs, status, said = parsed(remains(behaviour, edit=edit))
    assert status == expected.status and message in said and outputs == {}
    assert '\n' not in said


def test_numbers_in_other_units_are_an_output_that_cannot_be_used(remains):
    def edit(folder):
        path = folder / 'label.castep'
        path.write_text(path.read_text().replace('(eV/A)', '(hartree/bohr)'))

    _, status, message = parsed(remains(edit=edit))
    assert status == CODES.ERROR_OUTPUT_UNUSABLE.status and 'hartree/bohr' in message


def test_what_the_scheduler_says_counts_where_the_files_were_cut_off_and_only_there(remains):
    found = {}
    for behaviour in ('killed', 'unconverged', 'ok'):
        node = remains(behaviour)
        node.set_exit_status(140)
        found[behaviour] = ParserFactory('ufpnmr.label_castep')(node).parse()
    assert found['killed'] is None  # AiiDA keeps what the scheduler said
    assert found['unconverged'].status == CODES.ERROR_SCF_NOT_CONVERGED.status
    assert found['ok'].status == 0  # the output is whole


def test_a_magres_file_of_another_run_is_told_from_its_own(remains):
    other = structure_of([*SITES[:-1], ('Li', (4.3, 4.9, 9.1))])

    def edit(folder):
        atoms = other.get_ase()
        text = (folder / 'label.magres').read_text()
        number = f'{SITES[-1][1][1]:23.16E}'
        assert number in text and len(atoms) == len(SITES)
        (folder / 'label.magres').write_text(text.replace(number, f'{4.9:23.16E}'))

    _, status, message = parsed(remains(edit=edit))
    assert status == CODES.ERROR_OUTPUT_MIXED_UP.status and 'label.magres' in message


@pytest.fixture
def chain(castep, shuffled):
    """A restart chain after its set-up, as if it had run ``iteration`` attempts."""
    builder = CHAIN.get_builder_from_protocol(castep.code, shuffled, 'fast', options={'max_wallclock_seconds': 600})
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    process.setup()
    process.ctx.iteration = 1
    return process


@pytest.fixture(scope='module')
def input_files(castep) -> dict[str, str]:
    """What the stand-in needs to run."""
    kpoints = orm.KpointsData()
    kpoints.set_kpoints_mesh([1, 1, 1])
    names = {'Li': 'C19', 'P': 'C19', 'S': 'C19'}
    parameters = {'PARAM': {'cut_off_energy': 400.0}}
    given = {'structure': structure_of(SITES), 'kpoints': kpoints, 'pseudopotentials': names, 'parameters': parameters}
    return prepared(code=castep.code, **given)[1]


@pytest.fixture
def failed(castep, input_files, tmp_path):
    """The node of an attempt that behaved in a given way and ended with a given exit status."""

    def make(behaviour, status):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        run_stand_in(folder, input_files, behaviour)
        node = forged(castep.code.computer, folder)
        node.set_process_state('finished')
        node.set_exit_status(status)
        node.set_exit_message('What happened.')
        return node

    return make


def inspect(chain, node):
    """What the handlers decide about an attempt: the exit status of the chain, 0 for another attempt."""
    chain.ctx.children = [node] * chain.ctx.iteration
    return chain.inspect_process().status


def test_the_ladder_is_climbed_from_the_first_parameters_and_ends(chain, failed):
    node = failed('unconverged', 410)
    first = dict(chain.ctx.inputs.parameters['PARAM'])
    seen = []
    for rung in LADDER:
        assert inspect(chain, node) == 0
        param = chain.ctx.inputs.parameters['PARAM']
        seen.append(param['max_scf_cycles'])
        assert rung.changes.items() <= param.items() and param['cut_off_energy'] == first['cut_off_energy']
        chain.ctx.iteration += 1
    assert seen == [120, 180, 180]
    assert inspect(chain, node) == chain.exit_codes.ERROR_SCF_NOT_CONVERGED.status == 410


def test_too_few_bands_are_raised_to_what_castep_recommends_and_stay(chain, failed):
    assert inspect(chain, failed('few bands 12', 411)) == 0
    assert chain.ctx.inputs.parameters['PARAM']['nextra_bands'] == 12
    chain.ctx.iteration += 1
    assert inspect(chain, failed('unconverged', 410)) == 0
    assert chain.ctx.inputs.parameters['PARAM']['nextra_bands'] == 12


def test_a_run_killed_after_its_check_file_goes_on_from_it(chain, failed):
    node = failed('killed', 400)
    assert inspect(chain, node) == 0
    assert chain.ctx.inputs.parent_folder.pk == node.outputs.remote_folder.pk


def test_a_run_killed_before_its_check_file_starts_again_but_not_twice(chain, failed):
    node = failed('killed early', 400)
    assert inspect(chain, node) == 0 and 'parent_folder' not in chain.ctx.inputs
    chain.ctx.iteration += 1
    assert inspect(chain, node) == chain.exit_codes.ERROR_OUTPUT_LOST_AGAIN.status == 430


@pytest.mark.parametrize('status', [420, 120])
def test_out_of_time_within_the_scf_doubles_the_time_twice(chain, failed, status):
    node = failed('out early', status)
    times = []
    for _ in range(2):
        assert inspect(chain, node) == 0
        times.append(chain.ctx.inputs.metadata.options.max_wallclock_seconds)
        chain.ctx.iteration += 1
    assert times == [1200, 2400] and 'parent_folder' not in chain.ctx.inputs
    assert inspect(chain, node) == chain.exit_codes.ERROR_OUT_OF_WALLTIME.status == 420


def test_out_of_time_after_the_scf_goes_on_from_the_check_file_with_more_time_only_if_that_did_not_help(chain, failed):
    node = failed('out of time', 420)
    assert inspect(chain, node) == 0
    assert 'parent_folder' in chain.ctx.inputs and chain.ctx.inputs.metadata.options.max_wallclock_seconds == 600
    chain.ctx.iteration += 1
    assert inspect(chain, node) == 0
    assert 'parent_folder' in chain.ctx.inputs and chain.ctx.inputs.metadata.options.max_wallclock_seconds == 1200


def test_without_a_time_limit_there_is_none_to_raise(chain, failed):
    del chain.ctx.inputs.metadata.options['max_wallclock_seconds']
    assert inspect(chain, failed('out early', 420)) == 420


@pytest.mark.parametrize(
    ('behaviour', 'status'), [('no output', 430), ('no magres', 430), ('cut magres', 440), ('stranger', 450)]
)
def test_lost_output_is_computed_anew_from_the_beginning_but_not_twice(chain, failed, behaviour, status):
    node = failed(behaviour, status)
    chain.ctx.inputs.parent_folder = node.outputs.remote_folder
    assert inspect(chain, node) == 0 and 'parent_folder' not in chain.ctx.inputs
    chain.ctx.iteration += 1
    assert inspect(chain, node) == 430


def test_losses_that_are_not_in_a_row_are_forgiven(chain, failed):
    lost, late = failed('no magres', 430), failed('unconverged', 410)
    for node in (lost, late, lost):
        assert inspect(chain, node) == 0
        chain.ctx.iteration += 1


@pytest.mark.parametrize('status', [140, 100])
def test_a_node_failure_is_not_the_fault_of_the_calculation(chain, failed, status):
    node = failed('killed', status)
    before = dict(chain.ctx.inputs.parameters['PARAM'])
    for _ in range(3):
        assert inspect(chain, node) == 0
        chain.ctx.iteration += 1
    assert chain.ctx.inputs.parameters['PARAM'] == before and 'parent_folder' in chain.ctx.inputs


def test_the_number_of_attempts_has_an_end(chain, failed):
    chain.ctx.iteration = chain.inputs.max_iterations.value
    assert inspect(chain, failed('killed', 140)) == 401


def test_no_stress_leads_to_two_runs_that_use_the_ground_state_that_is_there(chain, failed):
    assert inspect(chain, failed('no stress', 460)) == 0
    assert chain.ctx.inputs.separate_efg is True and 'parent_folder' in chain.ctx.inputs


@pytest.mark.parametrize(
    ('status', 'expected'), [(210, 210), (310, 310), (320, 310), (330, 310), (131, 310), (110, 320)]
)
def test_what_cannot_be_helped_ends_the_chain(chain, failed, status, expected):
    assert inspect(chain, failed('crash', status)) == expected


def test_a_check_file_that_castep_chokes_on_is_left_behind(chain, failed):
    node = failed('crash', 210)
    chain.ctx.inputs.parent_folder = node.outputs.remote_folder
    assert inspect(chain, node) == 0 and 'parent_folder' not in chain.ctx.inputs
    assert inspect(chain, node) == 210


def test_every_exit_code_of_a_failed_run_has_a_handler(chain, failed):
    node = failed('ok', 0)
    for code in CODES.values():
        if code.status < 100 or code.status in (150, 160):  # of the engine itself; monitors and stashing are not used
            continue
        node.set_exit_status(code.status)
        chain.ctx.iteration, chain.ctx.lost_at = 1, 0
        assert inspect(chain, node) != chain.exit_codes.ERROR_UNHANDLED_FAILURE.status, code


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', None])
def test_every_protocol_fills_every_input(castep, shuffled, protocol):
    builder = CHAIN.get_builder_from_protocol(castep.code, shuffled, protocol)
    instantiate_process(get_manager().create_runner(communicator=None), builder)


def test_cutoffs_and_grids_follow_the_structure_and_the_protocol(castep, shuffled):
    oxide = structure_of([('Li', (0, 0, 0)), ('O', (2, 0, 0))])
    cutoff, points = {}, {}
    for protocol in ('fast', 'balanced', 'stringent'):
        for structure in (shuffled, oxide):
            builder = CHAIN.get_builder_from_protocol(castep.code, structure, protocol)
            cutoff[protocol, structure is oxide] = builder.calculation.parameters['PARAM']['cut_off_energy']
        process = instantiate_process(get_manager().create_runner(communicator=None), builder)
        process.setup()
        points[protocol] = process.ctx.inputs.kpoints.get_kpoints_mesh()[0]
    assert [cutoff[p, False] for p in ('fast', 'balanced', 'stringent')] == [400.0, 500.0, 700.0]
    assert all(cutoff[p, True] > cutoff[p, False] for p in ('fast', 'balanced', 'stringent'))
    assert [int(np.prod(points[p])) for p in points] == sorted(np.prod(points[p]) for p in points)
    assert points['stringent'][0] >= points['stringent'][2]  # the third vector is the longest


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'calculation': {'parameters': {'PARAM': {'task': 'phonon'}}}}, 'task cannot be given'),
        ({'calculatoin': {}}, "unknown override 'calculatoin'"),
        ({'pseudopotentials': {'Li': 'C19'}}, 'nothing for P'),
        ({'structure': 1}, 'argument of its own'),
    ],
)
def test_unknown_overrides_are_refused_by_name(castep, shuffled, overrides, message):
    with pytest.raises(ValueError, match=message):
        CHAIN.get_builder_from_protocol(castep.code, shuffled, overrides=overrides)


def attempts(node):
    return [called.exit_status for called in node.called if isinstance(called, orm.CalcJobNode)]


def test_a_real_chain_reaches_labels_over_a_ladder_and_a_kill(castep, shuffled):
    """The first rung helps, but the run is killed after its check file; the third attempt goes on from there."""
    overrides = castep.overrides('needs mix_charge_amp 0.2', 'killed', 'ok')
    builder = CHAIN.get_builder_from_protocol(castep.code, shuffled, 'fast', overrides)
    outputs, node = run_get_node(builder)
    assert node.exit_status == 0 and attempts(node) == [410, 400, 0]
    assert_labels_are_true(shuffled, outputs['dataset'])
    last = [called for called in node.called if isinstance(called, orm.CalcJobNode)][-1]
    assert last.inputs.parent_folder.creator.exit_status == 400
    assert last.outputs.results['scf_cycles'] == 1  # the ground state was there
    # working directories go away after success
    assert not list(Path(last.outputs.remote_folder.get_remote_path()).glob('*'))


def test_a_real_chain_makes_two_runs_where_it_must(castep, shuffled):
    overrides = castep.overrides('no stress', 'no stress', 'ok')
    outputs, node = run_get_node(CHAIN.get_builder_from_protocol(castep.code, shuffled, 'fast', overrides))
    assert node.exit_status == 0 and attempts(node) == [460, 0]
    assert_labels_are_true(shuffled, outputs['dataset'])


def test_a_failed_run_is_never_taken_from_the_cache(castep, shuffled):
    from aiida.manage.caching import enable_caching

    overrides = castep.overrides('crash')
    with enable_caching():
        chains = [
            run_get_node(CHAIN.get_builder_from_protocol(castep.code, shuffled, 'fast', overrides))[1] for _ in range(3)
        ]
    first, second, third = ([c for c in node.called if isinstance(c, orm.CalcJobNode)][0] for node in chains)
    assert [node.exit_status for node in chains] == [310, 0, 0]
    assert second.base.caching.get_cache_source() is None  # an equal input, but the first had failed
    assert third.base.caching.get_cache_source() == second.uuid
    assert 'dataset' not in first.outputs


def test_all_failures_invalidate_the_cache():
    assert all(code.invalidates_cache for code in CODES.values() if code.status >= 100)
