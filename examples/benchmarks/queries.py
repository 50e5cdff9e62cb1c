"""How long queries, the state of a batch and a report take in a large profile.

    python examples/benchmarks/queries.py                    # 100 000 runs, in a profile of their own with SQLite
    python examples/benchmarks/queries.py --runs 8000 --json out.json
    python examples/benchmarks/queries.py --profile NAME     # adds them to a profile that is there, such as PostgreSQL

Nearly all runs are made up: a data set and two potentials for every four thousand, and batches of two hundred,
each run with a workflow, a structure, a trajectory, correlation, hops and a summary. Links and keys are as in
real ones. Among them are a real batch and a real run of dynamic NMR, whose state and report are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROCESS, DATA = 'process.calculation.calcfunction.CalcFunctionNode.', 'data.core.dict.Dict.'
WORKFLOW = 'process.workflow.workchain.WorkChainNode.'
#: Runs of a batch, and runs that are made and then copied as often as it takes.
IN_BATCH, COPIED = 200, 4000


class Graph:
    """Collects rows of nodes and links, and writes them at once."""

    def __init__(self, backend):
        self.backend, self.user = backend, backend.default_user.pk
        self.nodes: list[dict] = []
        self.links: list[tuple[int, int, str, str]] = []

    def node(self, node_type: str, label: str = '', process_type: str | None = None, **attributes) -> int:
        """Number of a new node."""
        row = {'node_type': node_type, 'attributes': attributes, 'user_id': self.user, 'label': label}
        self.nodes.append({**row, 'process_type': process_type})
        return len(self.nodes) - 1

    def calculation(self, label: str, inputs: dict[str, int], outputs: dict[str, int]) -> int:
        """Number of a new calculation with links to its inputs and outputs."""
        number = self.node(PROCESS, process_label=label, process_state='finished', exit_status=0, sealed=True)
        self.links += [(given, number, name, 'input_calc') for name, given in inputs.items()]
        self.links += [(number, made, name, 'create') for name, made in outputs.items()]
        return number

    def write(self) -> list[int]:
        """The pks of all nodes."""
        from aiida.orm.entities import EntityTypes

        pks = self.backend.bulk_insert(EntityTypes.NODE, self.nodes, allow_defaults=True)
        self.backend.bulk_insert(
            EntityTypes.LINK,
            [
                {'input_id': pks[a], 'output_id': pks[b], 'label': label, 'type': kind}
                for a, b, label, kind in self.links
            ],
            allow_defaults=True,
        )
        return pks


def copy(backend, pks: list[int], n_copies: int) -> None:
    """Copy all nodes from the first to the last of ``pks``, with their links, by the database itself."""
    from sqlalchemy import text

    session = backend.get_session()
    if session.get_bind().dialect.name == 'postgresql':
        uuid, attributes = 'gen_random_uuid()', "replace(attributes::text, 'made-up-', :name)::jsonb"
    else:
        words = ['hex(randomblob(4))', 'hex(randomblob(2))', "'4a1b'", "'8c2d'", 'hex(randomblob(6))']
        uuid = 'lower(' + " || '-' || ".join(words) + ')'
        attributes = "replace(attributes, 'made-up-', :name)"
    kept = (
        'node_type, process_type, label, description, ctime, mtime, extras, repository_metadata, dbcomputer_id, user_id'
    )
    for number in range(1, n_copies + 1):
        values = {'shift': number * (pks[-1] - pks[0] + 1), 'first': pks[0], 'last': pks[-1]}
        nodes = f'INSERT INTO db_dbnode (id, uuid, attributes, {kept}) SELECT id + :shift, {uuid}, {attributes}, {kept}'
        session.execute(
            text(f'{nodes} FROM db_dbnode WHERE id BETWEEN :first AND :last'), {**values, 'name': f'made-up-{number}-'}
        )
        links = 'INSERT INTO db_dblink (input_id, output_id, label, type) '
        links += 'SELECT input_id + :shift, output_id + :shift, label, type'
        session.execute(text(f'{links} FROM db_dblink WHERE input_id BETWEEN :first AND :last'), values)
    if session.get_bind().dialect.name == 'postgresql':
        session.execute(
            text("SELECT setval(pg_get_serial_sequence('db_dbnode', 'id'), (SELECT max(id) FROM db_dbnode))")
        )
    session.commit()


def build(graph: Graph, n_runs: int) -> tuple[int, int, int]:
    """Numbers of a potential and of two summaries made with it."""
    rows = [{'index': i, 'label_id': f'made-up-{i}', 'group': 'beta', 'formula': 'Li3PS4'} for i in range(500)]
    dataset = graph.node('data.ufpnmr.dataset.DatasetData.', rows=rows, with_energy=len(rows), sha256='0')
    potentials = [fitted(graph, dataset, penalty) for penalty in (0.1, 0.2)]
    answers = []
    ended = {'process_state': 'finished', 'exit_status': 0, 'sealed': True}
    for number in range(n_runs):
        if number % IN_BATCH == 0:
            batch = graph.node(WORKFLOW, process_type='aiida.workflows:ufpnmr.dynamic_nmr_batch', **ended)
        parameters = graph.node(DATA, temperature=300.0 + number % 50, seed=number)
        structure, trajectory = (
            graph.node('data.core.structure.StructureData.'),
            graph.node('data.ufpnmr.trajectory.TrajectoryData.'),
        )
        md, timing = (
            graph.node(DATA, temperature_mean_K=300.0 + number % 50),
            graph.node(DATA, cpu_s=100.0, wall_s=100.0),
        )
        inputs = {'potential': potentials[number % 2], 'structure': structure, 'parameters': parameters}
        calculations = [graph.calculation('md', inputs, {'trajectory': trajectory, 'results': md, 'timing': timing})]
        acf, hops = graph.node(DATA, verdict='decay', tau_ns=1.0), graph.node(DATA, hop_rate_per_s=1e9)
        calculations.append(graph.calculation('acf', {'trajectory': trajectory}, {'results': acf}))
        calculations.append(graph.calculation('hops', {'trajectory': trajectory}, {'results': hops}))
        answers.append(graph.node(DATA, verdict='decay', tau_ns=1.0, temperature_mean_K=300.0 + number % 50))
        inputs = {'md': md, 'acf': acf, 'hops': hops}
        calculations.append(graph.calculation('summarise', inputs, {'result': answers[-1]}))
        run = graph.node(WORKFLOW, f'{number:064x}', 'aiida.workflows:ufpnmr.dynamic_nmr', **ended)
        graph.links.append((batch, run, f'run_{number % IN_BATCH:03d}', 'call_work'))
        graph.links += [(run, one, f'step_{place}', 'call_calc') for place, one in enumerate(calculations)]
        graph.links.append((run, answers[-1], 'tau', 'return'))
    return potentials[0], answers[0], answers[1]


def fitted(graph: Graph, dataset: int, penalty: float) -> int:
    """Number of a potential that was fitted to a data set."""
    settings, potential = (
        graph.node(DATA, penalty=penalty),
        graph.node('data.ufpnmr.potential.PotentialData.', sha256='1'),
    )
    timing = graph.node(DATA, cpu_s=60.0, wall_s=60.0)
    graph.calculation('fit', {'dataset': dataset, 'settings': settings}, {'potential': potential, 'timing': timing})
    return potential


def real_runs(folder: Path):
    """A batch of twenty tiny runs, and a tiny run of dynamic NMR."""
    from batch import DATA, ROWS, builder

    from aiida_ufpnmr.cli.progress import run_with_progress
    from aiida_ufpnmr.data import EfgModelData
    from aiida_ufpnmr.engine.dataset import read_dataset
    from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model
    from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain

    given = builder(folder, 20, 1800.0)
    batch = run_with_progress(given)
    settings = EfgSettings(n_max=4, l_max=3, mixed_channels=6, folds=3, penalty=0.1)
    fit_efg_model(read_dataset(DATA).subset(ROWS), 'Li', settings)[0].save(folder / 'efg-model.h5')
    steps = {'steps': 400, 'timestep': 1.0, 'every': 10, 'temperature': 100.0, 'supercell': [1, 1, 1]}
    skip = {'skip_ps': 0.0}
    overrides = {
        'md': {'parameters': steps},
        'acf': {'parameters': {**skip, 'bootstrap': 10}},
        'msd': {'parameters': {**skip, 'bootstrap': 10}},
        'hops': {'parameters': {**skip, 'window_ps': 0.03, 'residence_ps': 0.03}},
    }
    models = (given.structures['beta'], given.potential, EfgModelData(folder / 'efg-model.h5'))
    nmr = run_with_progress(
        DynamicNmrWorkChain.get_builder_from_protocol(given.md.code, *models, protocol='fast', overrides=overrides)
    )
    assert batch.is_finished_ok and nmr.is_finished_ok, (batch.exit_message, nmr.exit_message)
    return batch, nmr


def measure(n_runs: int, folder: Path) -> dict:
    """Seconds of each query in the profile that is loaded."""
    from aiida.manage import get_manager
    from aiida.orm import Node, QueryBuilder, load_node

    from aiida_ufpnmr.tools.batches import progress_of
    from aiida_ufpnmr.tools.costs import cost_by_step
    from aiida_ufpnmr.tools.differences import differences
    from aiida_ufpnmr.tools.outcomes import decay_times, made_of, outcomes_of_label
    from aiida_ufpnmr.tools.queries import labels_behind, settings_behind
    from aiida_ufpnmr.tools.report import write_report
    from aiida_ufpnmr.workflows.batch_plan import ended_well

    batch, nmr = real_runs(folder)
    graph = Graph(get_manager().get_profile_storage())
    numbers = build(graph, COPIED)
    pks = graph.write()
    copy(graph.backend, pks, n_runs // COPIED - 1)
    potential, first, second = (load_node(pks[number]) for number in numbers)
    queries = {
        'labels behind an answer': lambda: labels_behind(first),
        'settings behind an answer': lambda: settings_behind(first),
        'cost by step': lambda: cost_by_step(first),
        'differences between two answers': lambda: differences(first, second),
        'decay times of a potential': lambda: decay_times(potential),
        'all that was made of a potential': lambda: made_of([potential]),
        'results of a label': lambda: outcomes_of_label('made-up-7'),
        'state of a batch': lambda: progress_of(batch).runs,
        'runs that ended well before': lambda: ended_well([f'{number:064x}' for number in range(200)]),
        'report of a run': lambda: write_report(nmr, folder / 'report').read_text(),
    }
    results: dict = {
        'runs': n_runs,
        'nodes': QueryBuilder().append(Node).count(),
        'seconds': {},
        'cpu_s': {},
        'found': {},
    }
    for name, query in queries.items():
        begin, cpu = time.perf_counter(), time.process_time()
        results['found'][name] = len(query())
        results['seconds'][name], results['cpu_s'][name] = time.perf_counter() - begin, time.process_time() - cpu
        times = f'{results["seconds"][name]:8.2f} s, {results["cpu_s"][name]:8.2f} s of CPU'
        print(f'{name:34s} {results["found"][name]:8d} found {times}', flush=True)
    commands = {
        'query labels': first.pk,
        'query settings': first.pk,
        'query cost': first.pk,
        'query differences': f'{first.pk} {second.pk}',
        'query decay-times': potential.pk,
        'query results --all': potential.pk,
        'query results': 'made-up-7',
        'status': batch.pk,
        'report': f'{nmr.pk} -o {folder / "report-of-command"}',
    }
    results['commands_s'] = {name: seconds_of(f'{name} {given}') for name, given in commands.items()}
    return results


def seconds_of(words: str) -> float:
    """Wall time of a whole command: the second call, since whoever asks has asked before."""
    from aiida.manage import get_manager

    command = [Path(sys.executable).with_name('aiida-ufpnmr'), *words.split()]
    profile = get_manager().get_profile().name
    for _ in range(2):
        begin = time.perf_counter()
        subprocess.run([*command, '--profile', profile], check=True, capture_output=True)
        seconds = time.perf_counter() - begin
    print(f'aiida-ufpnmr {words:60s} {seconds:8.2f} s', flush=True)
    return seconds


def main() -> None:
    """Build the graph, ask every question, and print how long the answers took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=100_000, help='runs that are made up (default 100000)')
    parser.add_argument('--profile', metavar='NAME', help='a profile with the code ufpnmr@localhost; default: its own')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.profile is None:
            os.environ['AIIDA_PATH'] = folder
            setup = Path(sys.executable).with_name('aiida-ufpnmr')
            subprocess.run([setup, 'setup'], check=True, capture_output=True)
        import aiida

        aiida.load_profile(arguments.profile)
        results = measure(arguments.runs, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
