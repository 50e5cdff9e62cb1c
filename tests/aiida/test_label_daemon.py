"""Claims about labelling under a real daemon, with a stand-in for CASTEP: how each run ends, as documented."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from ase import Atoms
from ase.io import write
from own_profile import PATIENCE, OwnProfile

pytest.importorskip('aiida_castep')  # tests/run.sh installs it

#: What the runs of a chain do, one after the other; then, for each, its exit status and whether it goes on from a
#: check file.
RECOVERIES = {
    'second': (('unconverged', 'ok'), [410, 0], [False, False]),
    'killed': (('killed', 'ok'), [400, 0], [False, True]),
    'bad check file': (('killed', 'refused', 'ok'), [400, 210, 0], [False, True, False]),
    'few bands': (('few bands 12', 'few bands 12'), [411, 0], [False, False]),
    'out of time': (('out of time', 'ok'), [420, 0], [False, True]),
    'no output': (('no output', 'ok'), [430, 0], [False, False]),
    'cut magres': (('cut magres', 'ok'), [440, 0], [False, False]),
    'stranger': (('stranger', 'ok'), [450, 0], [False, False]),
    'no stress': (('no stress', 'no stress', 'ok'), [460, 0], [False, True]),
}
PLANS = {name: plan for name, (plan, *_) in RECOVERIES.items()} | {'third': ('unconverged', 'unconverged', 'crash')}

#: Makes the code, submits chains with these plans, and prints their pks by name.
SUBMIT = """
import json, sys
from pathlib import Path
from aiida import load_profile, orm
from aiida.engine import submit
from stand_ins import install_castep
from aiida_ufpnmr.workflows.label_castep import LabelCastepWorkChain

load_profile()
castep = install_castep(orm.load_computer('localhost'), Path(sys.argv[1]))
structure = orm.StructureData(cell=[[6, 0, 0], [1, 6, 0], [0, 0, 7]])
for symbol, position in (('S', (0, 0, 0)), ('Li', (2.5, 2.5, 0)), ('P', (0, 2.6, 2.9))):
    structure.append_atom(symbols=symbol, position=position)
pks = {}
for name, plan in json.loads(sys.argv[2]).items():
    builder = LabelCastepWorkChain.get_builder_from_protocol(castep.code, structure, 'fast', castep.overrides(*plan))
    pks[name] = submit(builder).pk
print(json.dumps({'pks': pks, 'plan': castep.plan(['sleep 12'])}))
"""

#: Waits until the workflows with these pks are done, and prints what became of them.
AWAIT = """
import json, sys, time
from aiida import load_profile, orm

load_profile()
pks, end = [int(pk) for pk in sys.argv[2:]], time.time() + float(sys.argv[1])
while time.time() < end and not all(orm.load_node(pk).is_terminated for pk in pks):
    time.sleep(0.5)
found = []
for pk in pks:
    node = orm.load_node(pk)
    jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
    found.append({
        'state': str(node.process_state), 'status': node.exit_status, 'message': node.exit_message,
        'attempts': [job.exit_status for job in sorted(jobs, key=lambda job: job.pk)],
        'went_on': ['parent_folder' in job.inputs for job in sorted(jobs, key=lambda job: job.pk)],
        'labels': len(node.outputs.dataset.rows) if 'dataset' in node.outputs else 0,
        'running': sum(job.get_state() is not None and job.get_state().value == 'withscheduler' for job in jobs),
    })
print(json.dumps(found))
"""


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> dict[str, dict]:
    """What became of workflows that one daemon ran side by side; it was stopped and started again in between."""
    profile = OwnProfile(tmp_path_factory.mktemp('daemon'))
    profile.tool('aiida-ufpnmr', 'setup', '--daemon')
    try:
        (profile.folder / 'castep').mkdir()
        submitted = profile.python(SUBMIT, profile.folder / 'castep', json.dumps(PLANS))
        atoms = Atoms('LiS', [[0.3, 0, 0], [2.5, 2.5, 0]], cell=[6, 6, 6], pbc=True)
        write(profile.folder / 'frames.extxyz', [atoms, atoms.repeat((2, 1, 1))])
        overrides = {'castep': {'calculation': {'parameters': {'PARAM': {'comment': submitted['plan']}}}}}
        (profile.folder / 'overrides.yaml').write_text(yaml.safe_dump(overrides))
        launch = ('launch', 'label', 'frames.extxyz', '--engine', 'castep', '--protocol', 'fast', '--daemon')
        stopped = int(profile.tool('aiida-ufpnmr', *launch, '--overrides', 'overrides.yaml'))
        end = time.time() + PATIENCE
        while time.time() < end:
            (seen,) = profile.python(AWAIT, 0, stopped)
            if seen['running'] or 'FINISHED' in seen['state']:
                break
            time.sleep(0.5)
        profile.tool('verdi', 'daemon', 'stop', '--timeout', 60)
        (seen,) = profile.python(AWAIT, 0, stopped)
        assert 'FINISHED' not in seen['state']  # else the daemon was stopped for nothing
        profile.tool('aiida-ufpnmr', 'setup', '--daemon')
        names = [*submitted['pks'], 'stopped']
        return dict(zip(names, profile.python(AWAIT, PATIENCE, *submitted['pks'].values(), stopped)))
    finally:
        profile.tool('verdi', 'daemon', 'stop', '--timeout', 60)


@pytest.mark.slow
@pytest.mark.parametrize('name', RECOVERIES)
def test_what_goes_wrong_once_is_overcome(outcomes, name):
    _, attempts, went_on = RECOVERIES[name]
    found = outcomes[name]
    assert (found['status'], found['attempts'], found['labels']) == (0, attempts, 1), found
    assert found['went_on'] == went_on


@pytest.mark.slow
def test_a_run_that_dies_at_the_third_attempt_ends_with_310_and_no_labels(outcomes):
    found = outcomes['third']
    assert (found['status'], found['attempts'], found['labels']) == (310, [410, 410, 310], 0), found
    assert 'insufficient memory' in found['message']


@pytest.mark.slow
def test_a_daemon_that_is_stopped_and_started_again_loses_nothing(outcomes):
    found = outcomes['stopped']
    assert (found['status'], found['attempts'], found['labels']) == (0, [0, 0], 2), found
