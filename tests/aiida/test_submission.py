"""Claims about what a submission imports: what checks inputs is light, for a submission costs what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiida.manage import get_config, get_manager

#: Builds the inputs of a workflow and has them checked as a submission would, then says what was imported.
PROGRAM = """
import sys
from aiida import load_profile, orm
name, code, structure, potential, workflow = sys.argv[1:]
load_profile(name)
code, structure, potential = map(orm.load_node, (code, structure, potential))
if workflow == 'md':
    from aiida_ufpnmr.workflows.md import MdWorkChain as Workflow
    chosen = {'structure': structure, 'overrides': {'md': {'parameters': {'steps': 100}}}}
else:
    from aiida_ufpnmr.workflows.batches import MdBatchWorkChain as Workflow
    chosen = {'structures': {'beta': structure}, 'temperatures_K': [600.0, 700.0]}
builder = Workflow.get_builder_from_protocol(code=code, potential=potential, **chosen)
assert Workflow.spec().inputs.validate(builder._inputs(prune=True)) is None
try:
    builder.md.parameters = orm.Dict({**builder.md.parameters.get_dict(), 'thermostat': 'ice'})
except ValueError as refusal:
    assert 'nose-hoover' in str(refusal)
else:
    sys.exit('a thermostat of ice was taken')
print(*sorted({'numba', 'scipy', 'h5py', 'paramiko'} & set(sys.modules)))
"""


@pytest.mark.parametrize('workflow', ['md', 'batch'])
def test_inputs_of_dynamics_are_checked_without_kernels_and_readers_of_files(workflow, code, structure, potential):
    nodes = [str(node.store().uuid) for node in (code, structure, potential)]
    words = [get_manager().get_profile().name, *nodes, workflow]
    environment = {**os.environ, 'AIIDA_PATH': str(Path(get_config().dirpath))}
    program = [sys.executable, '-c', PROGRAM, *words]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip()) == (0, ''), ended.stderr
