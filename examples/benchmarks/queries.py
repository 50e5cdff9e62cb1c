"""How long queries take in a profile of a hundred thousand nodes.

    python examples/benchmarks/queries.py                    # a minute; in a profile of its own, which is removed again
    python examples/benchmarks/queries.py --nodes 10000 --json out.json

The profile keeps its nodes in SQLite. They are made up: one data set, two potentials, and as many runs as it takes,
each with a structure, a trajectory, correlation, hops and a summary. Only their links and keys are as in real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

PROCESS, DATA = 'process.calculation.calcfunction.CalcFunctionNode.', 'data.core.dict.Dict.'


class Graph:
    """Collects rows of nodes and links, and writes them at once."""

    def __init__(self, backend):
        self.backend, self.user = backend, backend.default_user.pk
        self.nodes: list[dict] = []
        self.links: list[tuple[int, int, str, str]] = []

    def node(self, node_type: str, **attributes) -> int:
        """Number of a new node."""
        self.nodes.append({'node_type': node_type, 'attributes': attributes, 'user_id': self.user})
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


def build(graph: Graph, n_nodes: int) -> tuple[int, int, int]:
    """Numbers of a potential and of two summaries made with it."""
    rows = [{'index': i, 'label_id': f'made-up-{i}', 'group': 'beta', 'formula': 'Li3PS4'} for i in range(500)]
    dataset = graph.node('data.ufpnmr.dataset.DatasetData.', rows=rows, with_energy=len(rows), sha256='0')
    potentials = []
    for penalty in (0.1, 0.2):
        settings, potential = (
            graph.node(DATA, penalty=penalty),
            graph.node('data.ufpnmr.potential.PotentialData.', sha256='1'),
        )
        timing = graph.node(DATA, cpu_s=60.0, wall_s=60.0)
        graph.calculation('fit', {'dataset': dataset, 'settings': settings}, {'potential': potential, 'timing': timing})
        potentials.append(potential)
    answers = []
    while len(graph.nodes) < n_nodes:
        number = len(answers)
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
        graph.calculation('md', inputs, {'trajectory': trajectory, 'results': md, 'timing': timing})
        acf, hops = graph.node(DATA, verdict='decay', tau_ns=1.0), graph.node(DATA, hop_rate_per_s=1e9)
        graph.calculation('acf', {'trajectory': trajectory}, {'results': acf})
        graph.calculation('hops', {'trajectory': trajectory}, {'results': hops})
        answers.append(graph.node(DATA, verdict='decay', tau_ns=1.0, temperature_mean_K=300.0 + number % 50))
        graph.calculation('summarise', {'md': md, 'acf': acf, 'hops': hops}, {'result': answers[-1]})
    return potentials[0], answers[0], answers[1]


def measure(n_nodes: int) -> dict:
    """Seconds of each query in the profile that is loaded."""
    from aiida.manage import get_manager
    from aiida.orm import load_node

    from aiida_ufpnmr.tools.costs import cost_by_step
    from aiida_ufpnmr.tools.differences import differences
    from aiida_ufpnmr.tools.outcomes import decay_times, made_of, outcomes_of_label
    from aiida_ufpnmr.tools.queries import labels_behind, settings_behind

    graph = Graph(get_manager().get_profile_storage())
    numbers = build(graph, n_nodes)
    pks = graph.write()
    potential, first, second = (load_node(pks[number]) for number in numbers)
    queries = {
        'labels behind an answer': lambda: labels_behind(first),
        'settings behind an answer': lambda: settings_behind(first),
        'cost by step': lambda: cost_by_step(first),
        'differences between two answers': lambda: differences(first, second),
        'decay times of a potential': lambda: decay_times(potential),
        'all that was made of a potential': lambda: made_of([potential]),
        'results of a label': lambda: outcomes_of_label('made-up-7'),
    }
    results: dict = {'nodes': len(pks), 'links': len(graph.links), 'seconds': {}, 'found': {}}
    for name, query in queries.items():
        begin = time.perf_counter()
        results['found'][name] = len(query())
        results['seconds'][name] = time.perf_counter() - begin
        print(f'{name:34s} {results["found"][name]:8d} found {results["seconds"][name]:8.2f} s', flush=True)
    return results


def main() -> None:
    """Build the graph, ask every question, and print how long the answers took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--nodes', type=int, default=100_000, help='size of the profile (default 100000)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ['AIIDA_PATH'] = folder
        subprocess.run(['verdi', 'presto', '--non-interactive'], check=True, capture_output=True)
        import aiida

        aiida.load_profile()
        results = measure(arguments.nodes)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
