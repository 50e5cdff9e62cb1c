"""Short runs of dynamics and analyses on a cluster, in the default profile under AIIDA_PATH, as a program.

``runs.py prepare FOLDER`` makes the computer, the codes and the inputs; ``runs.py submit NUMBER [cut]`` prints pks,
and with ``cut`` the time of the first two jobs of each dynamics is cut short; ``runs.py outcomes SECONDS PK ...`` waits
for the end, as long as that, and prints what became of each run.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from aiida import load_profile, orm
from aiida.common.links import LinkType
from aiida.engine import ProcessBuilder, submit
from aiida.engine.processes.control import get_active_processes

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'data' / 'li3ps4-pbe-gpaw.extxyz'
#: Three frames each of three groups: enough to withhold a group; and settings with which a fit takes a second.
ROWS = (0, 1, 2, 7, 8, 9, 65, 66, 67)
POTENTIAL_SETTINGS = {'bond_intervals': 4, 'third_intervals': 6, 'pair_intervals': 10, 'folds': 3}
EFG_SETTINGS = {'n_max': 4, 'l_max': 3, 'mixed_channels': 6, 'folds': 3, 'penalty': 0.1}
#: Runs of these kinds by turns.
KINDS = ('md', 'acf', 'md', 'nmr', 'md', 'acf', 'md', 'md')
PARAMETERS = {'steps': 8000, 'timestep': 1.0, 'every': 200, 'temperature': 100.0, 'supercell': [1, 1, 1]}
ACF = {'parameters': {'skip_ps': 0.0, 'bootstrap': 10}}
OVERRIDES = {'acf': ACF, 'msd': ACF, 'hops': {'parameters': {'skip_ps': 0.0, 'window_ps': 0.6, 'residence_ps': 0.6}}}


#: The command, whose first two jobs for a seed come to the end of their time when they write for the first time.
CUT = """#!/bin/bash
[ "$1" = md ] || exec {command} "$@"
count={folder}/$(grep -oe '--seed [0-9]*' <<< "$*" | tr -d ' ')
echo >> "$count"
[ $(wc -l < "$count") -gt 2 ] || limit='--max-wall-time 1e-6'
exec {command} "$@" $limit
"""


def prepare(folder: Path) -> None:
    """A computer with Slurm, the code on it, models of a few structures, and a trajectory."""
    from aiida_ufpnmr.data import EfgModelData, PotentialData, TrajectoryData
    from aiida_ufpnmr.engine.dataset import read_dataset
    from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model
    from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential
    from aiida_ufpnmr.tools.profile import ufpnmr_executable

    computer = orm.Computer(
        label='slurm',
        hostname='localhost',
        transport_type='core.local',
        scheduler_type='core.slurm',
        workdir=str(folder / 'scratch'),
    ).store()
    computer.set_default_mpiprocs_per_machine(1)
    computer.set_minimum_job_poll_interval(1)
    computer.configure(safe_interval=0, use_login_shell=False)
    cut = folder / 'cuts' / 'ufpnmr'
    cut.parent.mkdir()
    cut.write_text(CUT.format(folder=shlex.quote(str(cut.parent)), command=shlex.quote(str(ufpnmr_executable()))))
    cut.chmod(0o755)
    for label, path in (('ufpnmr', ufpnmr_executable()), ('cut', cut)):
        orm.InstalledCode(label=label, computer=computer, filepath_executable=str(path), with_mpi=False).store()

    labels = read_dataset(EXAMPLE).subset(ROWS)
    fit_potential(labels, PotentialSettings(**POTENTIAL_SETTINGS))[0].save(folder / 'potential.h5')
    fit_efg_model(labels, 'Li', EfgSettings(**EFG_SETTINGS))[0].save(folder / 'efg-model.h5')
    nodes = {
        'potential': PotentialData(folder / 'potential.h5'),
        'efg_model': EfgModelData(folder / 'efg-model.h5'),
        'structure': orm.StructureData(ase=labels.structures[1]),
        'trajectory': TrajectoryData(make_trajectory(folder / 'trajectory.h5', labels.structures[0])),
    }
    for name, node in nodes.items():
        node.label = name
        node.store()


def make_trajectory(path: Path, atoms) -> Path:
    """Atoms that shake about their places for 4 ps, with tensors that are noise."""
    import numpy as np

    from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter, efg_group

    ions, rng = np.flatnonzero(atoms.numbers == 3), np.random.default_rng(0)
    writer = TrajectoryWriter(path, atoms, {'Li': ions})
    for step in range(0, 2001, 25):
        writer.append(POSITION, step, 2.0 * step, atoms.positions + 0.1 * rng.normal(size=atoms.positions.shape))
        writer.append(EDGES, step, 2.0 * step, atoms.cell.array)
        writer.append(f'{efg_group("Li")}/efg', step, 2.0 * step, rng.normal(size=(len(ions), 3, 3)))
    writer.close()
    return path


def labelled(label: str) -> Any:
    return orm.QueryBuilder().append(orm.Data, filters={'label': label}).one()[0]


def builder(number: int, is_cut: bool) -> ProcessBuilder:
    """Run ``number``: the same number gives the same run."""
    from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain
    from aiida_ufpnmr.workflows.md import MdWorkChain
    from aiida_ufpnmr.workflows.repeat import AcfWorkChain

    code, kind = orm.load_code('ufpnmr@slurm'), KINDS[number % len(KINDS)]
    given = {name: labelled(name) for name in ('structure', 'potential', 'efg_model')}
    if kind != 'acf':
        workflow: Any = MdWorkChain if kind == 'md' else DynamicNmrWorkChain
        overrides = {'md': {'parameters': {**PARAMETERS, 'seed': number}}, **(OVERRIDES if kind == 'nmr' else {})}
        made = workflow.get_builder_from_protocol(code, **given, overrides=overrides)
        if is_cut:
            made.md.code = orm.load_code('cut@slurm')
        return made
    chain = AcfWorkChain.get_builder()
    parameters = {**ACF['parameters'], 'seed': number}
    chain.calculation = {
        'code': code,
        'trajectory': labelled('trajectory'),
        'parameters': orm.Dict(parameters),
        'metadata': {'options': {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}}},
    }
    return chain


def wait(pks: list[int], patience: float) -> None:
    """Wait until no process is active and all runs have ended."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if all(orm.load_node(pk).is_terminated for pk in pks) and not get_active_processes(project='id'):
            return
        time.sleep(1.0)
    raise RuntimeError(f'still active after {patience:g} s: {get_active_processes(project="id")}')


def outcome(pk: int) -> dict[str, Any]:
    """What a run gave, by content; how its jobs ended, and which numbers the scheduler gave them."""
    node = orm.load_node(pk)
    links = node.base.links.get_outgoing(link_type=LinkType.RETURN).all()
    jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
    return {
        'pk': pk,
        'state': node.process_state.value,
        'status': node.exit_status,
        'message': node.exit_message,
        'outputs': sorted(
            [link.link_label, content(link.node)] for link in links if not link.link_label.endswith('timing')
        ),
        'jobs': [[job.process_label, job.exit_status, job.get_job_id()] for job in sorted(jobs, key=lambda j: j.pk)],
    }


def content(node) -> str:
    return node.base.attributes.get('sha256', None) or node.base.caching.compute_hash()


def main(task: str, *arguments: str) -> None:
    load_profile()
    if task == 'prepare':
        prepare(Path(arguments[0]))
        print(json.dumps(True))
    elif task == 'submit':
        print(json.dumps([submit(builder(i, 'cut' in arguments)).pk for i in range(int(arguments[0]))]))
    else:
        pks = [int(pk) for pk in arguments[1:]]
        wait(pks, float(arguments[0]))
        print(json.dumps([outcome(pk) for pk in pks]))


if __name__ == '__main__':
    main(*sys.argv[1:])
