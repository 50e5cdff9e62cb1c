"""Claims about a whole run with the real commands: answer, provenance, report, archive, failures."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from own_profile import OwnProfile

from aiida_ufpnmr.data import DatasetData, TrajectoryData
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.answer import error_rows
from aiida_ufpnmr.tools.costs import cost_by_step, dynamics_cost
from aiida_ufpnmr.tools.graph import layers, provenance
from aiida_ufpnmr.tools.queries import (
    calculations_behind,
    called_below,
    labels_behind,
    outputs_of,
    settings_behind,
    step_name,
)

#: The hash of a node.
HASH = """
import json, sys
from aiida import load_profile, orm
load_profile()
print(json.dumps(orm.load_node(int(sys.argv[1])).sha256))
"""
STEPS = ['acf', 'fit_efg', 'fit_potential', 'hops', 'md', 'msd', 'select_structure', 'summarise']


def test_launching_prints_the_steps_the_errors_and_the_rates(launched, pipeline):
    for step in ('fit_potential', 'fit_efg', 'md', 'acf', 'msd', 'hops'):
        assert re.search(rf'^  {step} +#\d+ +\d+ s  done$', launched.output, re.MULTILINE), launched.output
    for quantity in ('forces, RMSE', 'ω_Q, MAE', 'hop rate of an ion', 'verdict'):
        assert quantity in launched.output


def test_the_answer_has_its_keys_with_units(pipeline):
    tau = pipeline.outputs.tau.get_dict()
    for key in (
        'tau_ns',
        'tau_ns_ci95',
        'verdict',
        'hop_rate_per_s',
        'hop_rate_corrected',
        'diffusion_coefficient_cm2_per_s',
        'temperature_mean_K',
    ):
        assert key in tau
    assert tau['simulated_ps'] == pytest.approx(0.4)
    assert tau['atoms'] == 32


def test_outputs_are_there_and_in_their_places(pipeline):
    outputs = pipeline.outputs
    assert outputs.potential.training_sha256 == outputs.efg_model.training_sha256 == pipeline.inputs.dataset.sha256
    assert outputs.trajectory.n_frames == 41
    for name in ('acf', 'msd', 'hops'):
        assert outputs[name]['figure'].get_content(mode='rb').startswith(b'\x89PNG')
        assert 'timing' not in outputs[name]['results'].get_dict()
        assert outputs[name]['timing'].get_dict()['wall_s'] >= 0
    assert outputs.potential_errors.get_dict()['forces_rmse_meV_per_angstrom'] > 0
    assert outputs.efg_errors.get_dict()['omega_q_mae_khz'] > 0


def walk_back(node: orm.Data) -> set[int]:
    """All nodes behind ``node``, found link by link and not by the queries under test."""
    seen, waiting = set(), [node]
    while waiting:
        current = waiting.pop()
        if current.pk in seen:
            continue
        seen.add(current.pk)
        kinds = (LinkType.CREATE, LinkType.INPUT_CALC)
        waiting += [link.node for link in current.base.links.get_incoming(link_type=kinds).all()]
    return seen


def test_from_the_answer_one_walks_back_to_every_label(pipeline):
    tau = pipeline.outputs.tau
    behind = walk_back(tau)
    assert pipeline.inputs.dataset.pk in behind
    labels = labels_behind(tau)
    assert {label.dataset.pk for label in labels} == {pk for pk in behind if isinstance(orm.load_node(pk), DatasetData)}
    assert len(labels) == 9
    original = pipeline.inputs.dataset.get_dataset().structures
    assert [label.row['label_id'] for label in labels] == [atoms.info['label_id'] for atoms in original]


def test_from_the_answer_one_walks_back_to_every_setting(pipeline, tiny):
    settings = {(step_name(s.process), s.name): s.value for s in settings_behind(pipeline.outputs.tau)}
    assert settings['fit_potential', 'settings'] == tiny['fit_potential']['settings']
    assert settings['fit_efg', 'settings'] == tiny['fit_efg']['settings']
    assert settings['fit_efg', 'parameters'] == {'species': 'Li'}
    assert settings['select_structure', 'index'] == 1
    for step in ('md', 'acf', 'msd', 'hops'):
        given = tiny['dynamic_nmr'][step]['parameters']
        assert given.items() <= settings[step, 'parameters'].items()
    assert {s.node.pk for s in settings_behind(pipeline.outputs.tau)} <= walk_back(pipeline.outputs.tau)


def test_all_calculations_lie_behind_the_answer(pipeline):
    assert sorted(step_name(c) for c in calculations_behind(pipeline.outputs.tau)) == STEPS
    assert sorted(step_name(c) for c in calculations_behind(pipeline)) == STEPS


def test_what_a_run_called_is_what_a_walk_along_its_calls_finds(pipeline):
    below = called_below(pipeline)
    walked = {node.pk: node for node in pipeline.called_descendants}
    assert list(below) == sorted(walked) and all(one.has_ended for one in below.values())
    assert {pk for pk, one in below.items() if one.is_job} == {
        pk for pk, node in walked.items() if isinstance(node, orm.CalcJobNode)
    }


def test_working_directories_are_removed_after_success(pipeline):
    jobs = [node for node in pipeline.called_descendants if isinstance(node, orm.CalcJobNode)]
    assert len(jobs) == 6
    folders = [Path(job.outputs.remote_folder.get_remote_path()) for job in jobs]
    assert not [folder for folder in folders if folder.exists() and os.listdir(folder)]


def test_the_picture_puts_everything_below_what_it_rests_on(pipeline):
    boxes, arrows = provenance(pipeline.outputs.tau)
    depth = {pk: row for row, pks in enumerate(layers(boxes, arrows)) for pk in pks}
    assert set(depth) == set(boxes)
    assert all(depth[a] < depth[b] for a, b in arrows)
    assert {box.text for box in boxes.values()} >= {'potential', 'EFG model', 'trajectory', 'answer', 'fit efg'}


def test_the_report_is_one_page_that_needs_nothing_else(pipeline, command, tmp_path):
    result = command('report', pipeline.pk, '-o', tmp_path / 'new' / 'report')
    assert result.exit_code == 0, result.exception
    page = (tmp_path / 'new' / 'report' / 'index.html').read_text()
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.findall(r'src="(?!data:)|<(?:link|script|iframe)|url\((?!#)|@import', page)
    for expected in (
        pipeline.uuid,
        pipeline.inputs.dataset.sha256,
        '<svg',
        'prefers-color-scheme',
        '@media print',
        'CPU hours',
        '40,000\u00a0CPU',
        'numba',
    ):
        assert expected in page
    assert len(list((tmp_path / 'new' / 'report').glob('*.png'))) == 3


def test_the_view_beside_the_report_shows_the_cell_and_asks_for_nothing(pipeline, command, tmp_path):
    assert command('report', pipeline.pk, '-o', tmp_path).exit_code == 0
    assert 'href="view.html"' in (tmp_path / 'index.html').read_text()
    view = (tmp_path / 'view.html').read_text()
    assert not re.findall(r'https?:|src=|url\(|@import|<(?:link|iframe)', view)
    scene = json.loads(re.search(r'<script id="scene"[^>]*>(.*?)</script>', view, re.DOTALL)[1])
    assert len(scene['places']) == 32 and [kind['symbol'] for kind in scene['kinds']] == ['Li', 'P', 'S']


def test_a_report_goes_into_a_folder_of_its_own_unless_told_otherwise(pipeline, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command('report', pipeline.pk).output.strip() == f'report-{pipeline.pk}/index.html'
    assert (tmp_path / f'report-{pipeline.pk}' / 'index.html').is_file()


def test_a_workflow_that_was_given_its_models_reports_their_errors_too(pipeline, command, tmp_path):
    (inner,) = [node for node in pipeline.called if node.process_label == 'DynamicNmrWorkChain']
    assert error_rows(inner) == error_rows(pipeline) != []
    assert command('report', inner.pk, '-o', tmp_path).exit_code == 0


def test_the_cost_of_the_dynamics_is_that_of_its_job(pipeline):
    cost = dynamics_cost(outputs_of(pipeline))
    assert (cost.atoms, cost.steps, cost.timestep_fs, cost.tensors) == (32, 400, 1.0, 12 * 41)
    (md,) = [step for step in cost_by_step(pipeline) if step.name == 'md']
    assert cost.cpu_s == md.cpu_s > 0


def test_a_report_of_something_without_an_answer_is_refused(pipeline, command, tmp_path):
    result = command('report', pipeline.inputs.dataset.pk, '-o', tmp_path / 'report')
    assert isinstance(result.exception, InputError)
    assert not (tmp_path / 'report').exists()


def test_query_lists_labels_and_settings(pipeline, command):
    labels = command('query', 'labels', pipeline.pk).output
    assert all(row['label_id'] in labels for row in pipeline.inputs.dataset.rows)
    assert re.search(r'md #\d+ +steps +400', command('query', 'settings', pipeline.pk).output)


def test_launching_with_mistakes_names_them_and_stores_nothing(command, code, dataset_file, tmp_path):
    overrides = tmp_path / 'overrides.yaml'
    overrides.write_text(yaml.safe_dump({'dynamic_nmr': {'md': {'parameters': {'stepz': 1}}}}))
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    for arguments, message in (
        (('nowhere.extxyz', '--structure-index', 0), 'no such data set'),
        ((dataset_file,), 'structure-index'),
        ((dataset_file, '--structure-index', 99), '99'),
        ((dataset_file, '--structure-index', 0, '--overrides', overrides), 'stepz'),
        ((dataset_file, '--structure-index', 0, '--code', 'no@where'), 'no such code'),
        ((dataset_file, '--structure-index', 0, '--daemon'), 'broker'),
    ):
        result = command('launch', 'pipeline', *arguments)
        assert isinstance(result.exception, InputError) and message in str(result.exception), (
            arguments,
            result.exception,
        )
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_dynamics_that_fail_stop_the_workflow_with_the_reason(code, pipeline):
    from aiida.engine import run_get_node
    from aiida.plugins import WorkflowFactory

    gas = orm.StructureData(cell=[[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    gas.append_atom(symbols='P', position=(0, 0, 0))
    builder = WorkflowFactory('ufpnmr.dynamic_nmr').get_builder_from_protocol(
        code, gas, pipeline.outputs.potential, pipeline.outputs.efg_model, 'fast'
    )
    outputs, node = run_get_node(builder)
    assert node.exit_status == 401
    assert 'refused its input' in node.exit_message and 'of which the structure has none' in node.exit_message
    assert 'tau' not in outputs and 'trajectory' not in outputs
    assert [calculation.process_label for calculation in calculations_behind(node)] == ['MdCalculation']


def test_an_equal_calculation_is_taken_from_the_cache_and_a_failed_one_is_not(code, pipeline):
    from aiida.engine import run_get_node
    from aiida.manage.caching import enable_caching
    from aiida.plugins import CalculationFactory

    first = pipeline.outputs.msd.results.creator
    with pipeline.outputs.trajectory.as_path() as path:
        equal = TrajectoryData(path)  # another node with the same content
    process = CalculationFactory('ufpnmr.analyse')
    inputs = {'code': code, 'trajectory': equal, 'analysis': 'msd'}
    with enable_caching():
        _, again = run_get_node(process, **inputs, parameters=first.inputs.parameters.get_dict())
        failed = [run_get_node(process, **inputs, parameters={'species': 'Na'})[1] for _ in range(2)]
    assert again.base.caching.get_cache_source() == first.uuid
    assert [node.exit_status for node in failed] == [210, 210]
    assert failed[1].base.caching.get_cache_source() is None


PROVE_IMPORT = """
import sys
from aiida import load_profile, orm
from aiida.tools.archive import import_archive
load_profile('reader')
import_archive(sys.argv[1])
node = orm.load_node(sys.argv[2])
from aiida_ufpnmr.tools.queries import calculations_behind, labels_behind, settings_behind
with node.outputs.trajectory.open_trajectory() as trajectory:
    print(trajectory.n_frames, len(labels_behind(node)), len(settings_behind(node)), node.outputs.trajectory.sha256)
print(*(calculation.uuid for calculation in calculations_behind(node)))
"""


def test_an_archive_carries_the_whole_graph_to_another_reader(pipeline, command, tmp_path):
    archive = tmp_path / 'result.aiida'
    result = command('archive', 'create', pipeline.pk, '-o', archive)
    assert result.exit_code == 0, result.exception
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path)}
    setup = [Path(sys.executable).with_name('aiida-ufpnmr'), 'setup', '--profile', 'reader']
    for expected in ('made', 'there'):  # the second time there is nothing to do
        lines = subprocess.run(setup, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(lines) == 3 and all(line.endswith(expected) for line in lines)
    read = [sys.executable, '-c', PROVE_IMPORT, str(archive), pipeline.uuid]
    result = subprocess.run(read, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    frames, labels, settings, sha256, *in_order = result.stdout.split()
    assert int(frames) == 41 and int(labels) == 9
    assert int(settings) == len(settings_behind(pipeline))
    assert sha256 == pipeline.outputs.trajectory.sha256
    assert in_order == [calculation.uuid for calculation in calculations_behind(pipeline)]


def test_verifying_an_archive_finds_what_was_changed(pipeline, command, tmp_path):
    from aiida_ufpnmr.tools.verification import verify_archive

    archive = tmp_path / 'result.aiida'
    command('archive', 'create', pipeline.pk, '-o', archive)
    result = command('archive', 'verify', archive)
    assert result.exit_code == 0 and result.output.count('agrees') == 4, result.exception
    rows = pipeline.inputs.dataset.base.attributes.get('rows')
    assert len(rows) == 9  # the profile of the session is still the one in use

    stored = pipeline.outputs.potential.sha256
    changed = tmp_path / 'changed.aiida'
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(changed, 'w', zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == 'db.sqlite3':
                content = content.replace(stored.encode(), stored[::-1].encode())
            target.writestr(name, content)
    checks, others = verify_archive(changed)
    faults = [check.fault for check in checks if check.fault]
    assert len(faults) == 1 and stored in faults[0]
    assert len(others) == 1 and 'was changed' in others[0]
    assert command('archive', 'verify', changed).exit_code == 1
    archive.write_bytes(archive.read_bytes()[:1000])
    assert isinstance(command('archive', 'verify', archive).exception, InputError)


def rewritten(source, target, change):
    """A copy of an archive; ``change`` gives the new content of an entry, or ``None`` to leave it as it is."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(name, content) or content)
    return target


def test_a_changed_byte_of_a_file_and_a_removed_node_are_found(pipeline, command, tmp_path):
    archive = tmp_path / 'result.aiida'
    command('archive', 'create', pipeline.pk, '-o', archive)
    key = pipeline.outputs.potential.base.repository.metadata['o']['potential.h5']['k']

    def another_byte(name, content):
        return content[:-1] + bytes([content[-1] ^ 1]) if name == f'repo/{key}' else None

    result = command('archive', 'verify', rewritten(archive, tmp_path / 'byte.aiida', another_byte))
    assert result.exit_code == 1 and f'file {key[:12]}: its content has changed' in result.output

    def without_the_answer(name, content):
        if name != 'db.sqlite3':
            return None
        (tmp_path / name).write_bytes(content)
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as database:
            (pk,) = database.execute('SELECT id FROM db_dbnode WHERE uuid = ?', [pipeline.outputs.tau.uuid]).fetchone()
            database.execute('DELETE FROM db_dblink WHERE input_id = ? OR output_id = ?', [pk, pk])
            database.execute('DELETE FROM db_dbnode WHERE id = ?', [pk])
            database.commit()
        return (tmp_path / name).read_bytes()

    changed = rewritten(archive, tmp_path / 'node.aiida', without_the_answer)
    result = command('archive', 'verify', changed)
    assert result.exit_code == 1
    assert f'node {pipeline.outputs.tau.uuid}: was removed' in result.output and 'links between nodes' in result.output

    without_list = tmp_path / 'list.aiida'  # and then nobody could tell
    with zipfile.ZipFile(changed) as old, zipfile.ZipFile(without_list, 'w') as new:
        for name in old.namelist():
            if name != 'ufpnmr-manifest.json':
                new.writestr(name, old.read(name))
    result = command('archive', 'verify', without_list)
    assert result.exit_code == 1 and 'the list of what should be here is missing' in result.output


def test_a_slim_archive_is_verified_by_running_it_again(pipeline, command, tmp_path, monkeypatch):
    """In a private profile, whose computer and user are others; the trajectory that is not there is made again."""
    whole, slim = tmp_path / 'whole.aiida', tmp_path / 'slim.aiida'
    command('archive', 'create', pipeline.pk, '-o', whole)
    (job,) = [job for job in pipeline.called_descendants if job.process_label == 'MdCalculation']
    monkeypatch.setattr(job.computer, 'label', 'cluster')
    assert command('archive', 'create', pipeline.pk, '--slim', '-o', slim).exit_code == 0
    monkeypatch.undo()
    with (
        zipfile.ZipFile(slim) as file,
        contextlib.closing(sqlite3.connect(file.extract('db.sqlite3', tmp_path))) as database,
    ):
        assert database.execute('SELECT label FROM db_dbcomputer').fetchall() == [('cluster',)]
        assert database.execute('SELECT email FROM db_dbuser').fetchall() != [('aiida@localhost',)]
    key = pipeline.outputs.trajectory.base.repository.metadata['o']['trajectory.h5']['k']
    held = [set(zipfile.ZipFile(archive).namelist()) for archive in (whole, slim)]
    assert held[0] - held[1] == {f'repo/{key}'}
    steps = ('fit_potential', 'fit_efg', 'md', 'acf')
    result = command('archive', 'verify', slim, *(word for step in steps for word in ('--rerun', step)))
    assert result.exit_code == 0, (result.output, result.exception)
    assert 'left out' in result.output
    rows = [line.split() for line in result.output.splitlines() if line.split()[:1] and line.split()[0] in steps]
    assert {(row[0], row[2], row[3]) for row in rows} == {
        ('fit_potential', 'potential', 'identical'), ('fit_potential', 'results', 'identical'),
        ('fit_efg', 'efg_model', 'identical'), ('fit_efg', 'results', 'identical'),
        ('md', 'trajectory', 'identical'), ('md', 'results', 'identical'),
        ('acf', 'functions', 'identical'), ('acf', 'results', 'identical'),
    }  # fmt: skip


def test_a_byte_that_was_changed_within_an_archive_is_found(pipeline, command, tmp_path):
    """Not of what was compressed, as above, but of the archive as it lies on disk."""
    archive = tmp_path / 'result.aiida'
    command('archive', 'create', pipeline.pk, '-o', archive)
    key = pipeline.outputs.potential.base.repository.metadata['o']['potential.h5']['k']
    with zipfile.ZipFile(archive) as file:
        entry = file.getinfo(f'repo/{key}')
    content = bytearray(archive.read_bytes())
    content[entry.header_offset + len(entry.FileHeader()) + entry.compress_size // 2] ^= 0xFF
    archive.write_bytes(content)
    result = command('archive', 'verify', archive)
    assert result.exit_code == 1 and 'its file is damaged' in result.output, (result.output, result.exception)


def test_a_model_that_was_left_out_is_made_again_where_its_archive_was_imported(pipeline, command, tmp_path):
    small, potential = tmp_path / 'small.aiida', pipeline.outputs.potential
    command('archive', 'create', pipeline.pk, '--most-mb', 0.1, '-o', small)
    profile = OwnProfile(tmp_path)
    profile.tool('aiida-ufpnmr', 'setup')
    profile.tool('verdi', 'archive', 'import', small)
    (structure,) = [node.outputs.result for node in pipeline.called if node.process_label == 'select_structure']
    launch = [Path(sys.executable).with_name('aiida-ufpnmr'), 'launch', 'md', structure.uuid, '--temperature', '300']
    refused = subprocess.run(
        [*launch, '--potential', potential.uuid], env=profile.environment, capture_output=True, text=True
    )
    assert refused.returncode == 2 and 'make it again with "aiida-ufpnmr archive remake' in refused.stderr
    told = profile.tool('aiida-ufpnmr', 'archive', 'remake', potential.uuid)
    assert re.search(r'fit_potential +\w+ +potential +identical', told), told
    pk = re.search(r'PotentialData #(\d+) in place of', told)[1]
    assert profile.python(HASH, pk) == potential.sha256


def test_several_results_go_into_one_archive(pipeline, command, tmp_path):
    other, archive = orm.Dict({'of': 'another result'}).store(), tmp_path / 'both.aiida'
    assert command('archive', 'create', pipeline.pk, other.pk, '--slim', '-o', archive).exit_code == 0
    with (
        zipfile.ZipFile(archive) as file,
        contextlib.closing(sqlite3.connect(file.extract('db.sqlite3', tmp_path))) as database,
    ):
        uuids = {uuid for (uuid,) in database.execute('SELECT uuid FROM db_dbnode')}
    assert {pipeline.uuid, other.uuid, pipeline.outputs.tau.uuid} <= uuids
    assert command('archive', 'verify', archive).exit_code == 0


def test_what_has_not_ended_is_refused_in_a_line(command, tmp_path):
    running, archive = orm.WorkflowNode().store(), tmp_path / 'open.aiida'
    found = command('archive', 'create', running.pk, '-o', archive)
    assert found.exit_code == 2 or isinstance(found.exception, InputError)
    assert 'must be sealed' in str(found.exception) + found.output and not archive.exists()
    running.seal()


def test_what_cannot_be_run_again_is_named(pipeline, command, tmp_path):
    archive = tmp_path / 'result.aiida'
    command('archive', 'create', pipeline.pk, '--slim', '-o', archive)
    result = command('archive', 'verify', archive, '--rerun', 'everything')
    assert result.exit_code == 2 and "'everything'; known are fit_potential" in result.output


def test_errors_by_weight_stand_first_where_structures_have_weights(pipeline):
    class Reported:
        """A workflow whose fit of the potential reports these errors."""

        outputs = {
            'potential_errors': orm.Dict(
                {'forces_rmse_meV_per_angstrom': 300.0, 'weighted': {'forces_rmse_meV_per_angstrom': 120.0}}
            )
        }
        inputs: dict = {}

    assert error_rows(Reported()) == [('potential', 'forces, RMSE', '120 meV/Å by weight, 300 without')]
