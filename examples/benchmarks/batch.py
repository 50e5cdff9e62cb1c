"""What AiiDA costs in a batch of many tiny runs: time, processes per second, growth of the database and of the files.

    python examples/benchmarks/batch.py                              # 200 runs in a profile of their own, with SQLite
    python examples/benchmarks/batch.py --runs 20 --pack-to 0        # a job for each run
    python examples/benchmarks/batch.py --daemon                     # by a daemon, over ZeroMQ
    python examples/benchmarks/batch.py --profile NAME --daemon      # any profile that is there, such as PostgreSQL

The runs are of 50 steps of a small cell, so nearly all of the time is that of AiiDA and of the start of programs. In
the end the batch is launched again, which takes all runs up, and put into an archive without trajectories.
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

DATA = Path(__file__).parents[1] / 'data' / 'li3ps4-pbe-gpaw.extxyz'
#: A potential that is fitted in a second, to the first crystals of the data set.
SETTINGS = {'bond_intervals': 4, 'third_intervals': 6, 'pair_intervals': 10, 'folds': 3}
ROWS = (0, 1, 2, 7, 8, 9, 65, 66, 67)


def builder(folder: Path, n_runs: int, pack_to_s: float):
    """A batch of ``n_runs`` tiny runs with seeds that no run has had."""
    from aiida.orm import load_code

    from aiida_ufpnmr.data import DatasetData, PotentialData
    from aiida_ufpnmr.engine.dataset import read_dataset
    from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential
    from aiida_ufpnmr.workflows.batches import MdBatchWorkChain

    labels = read_dataset(DATA).subset(ROWS)
    fit_potential(labels, PotentialSettings(**SETTINGS))[0].save(folder / 'potential.h5')
    parameters = {'steps': 50, 'timestep': 1.0, 'every': 10, 'seed': int(time.time()) % 2**30}
    return MdBatchWorkChain.get_builder_from_protocol(
        load_code('ufpnmr@localhost'),
        {'beta': DatasetData.of(labels).get_structure(0)},
        PotentialData(folder / 'potential.h5'),
        temperatures_K=[100.0],
        replicas=n_runs,
        protocol='fast',
        overrides={'pack_to_s': pack_to_s, 'min_cell_height_angstrom': 1.0, 'md': {'parameters': parameters}},
    )


def sizes_kB() -> dict[str, float]:
    """Size of the database, as it tells, and of all files that its nodes hold."""
    from aiida.manage import get_manager
    from sqlalchemy import text

    storage = get_manager().get_profile_storage()
    session = storage.get_session()
    if session.get_bind().dialect.name == 'postgresql':
        query = 'SELECT pg_database_size(current_database())'
    else:
        query = 'SELECT page_count * page_size FROM pragma_page_count, pragma_page_size'
    size_MB = storage.get_info(detailed=True)['repository']['Size (MB)']
    files = size_MB['total_size_packfiles_on_disk'] + size_MB['total_size_loose']
    return {'database': session.execute(text(query)).scalar() / 1e3, 'files': 1e3 * files}


def run(builder, daemon: bool):
    """Run a batch to its end, here or by the daemon."""
    from aiida.engine import submit
    from aiida.orm import load_node

    from aiida_ufpnmr.cli.progress import run_with_progress

    if not daemon:
        return run_with_progress(builder)
    node = submit(builder)
    while not load_node(node.pk).is_terminated:
        time.sleep(0.5)
    return load_node(node.pk)


def measure(folder: Path, n_runs: int, pack_to_s: float, daemon: bool) -> dict:
    """Times and sizes of a batch, of the same batch again, of its state and of its archive."""
    from aiida.orm import ProcessNode, QueryBuilder

    from aiida_ufpnmr.tools.archives import archive_result
    from aiida_ufpnmr.tools.batches import progress_of

    tiny = builder(folder, n_runs, pack_to_s)
    before, begin, cpu = sizes_kB(), time.perf_counter(), time.process_time()
    node = run(tiny, daemon)
    assert node.is_finished_ok, node.exit_message
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    after = sizes_kB()
    data = sum(sum(object_sizes(one)) for one in node.outputs.trajectories.values()) / 1e3
    own = QueryBuilder().append(ProcessNode, filters={'id': {'>=': node.pk}}).count()
    programs = sum(1 for one in node.called_descendants if one.process_label == 'MdCalculation')
    results = {
        'runs': n_runs,
        'jobs': sum(1 for one in node.called if one.process_label == 'MdPackCalculation') or programs,
        'processes': own,
        'wall_s': seconds,
        'wall_s_per_run': seconds / n_runs,
        'processes_per_second': own / seconds,
        'aiida_cpu_s_per_run': None if daemon else cpu / n_runs,
        'programs_wall_s_per_run': programs_seconds(node) / n_runs,
        **{f'{name}_kB_per_run': (after[name] - before[name]) / n_runs for name in after},
        'trajectory_kB_per_run': data / n_runs,
    }
    begin = time.perf_counter()
    again = run(tiny, daemon)
    results['again_s'] = time.perf_counter() - begin
    assert again.is_finished_ok and not again.called, again.exit_message
    begin = time.perf_counter()
    assert progress_of(node).count('done') == n_runs
    results['status_s'] = time.perf_counter() - begin
    begin = time.perf_counter()
    path = archive_result(node, folder / 'batch.aiida', slim=True)
    results |= {'archive_s': time.perf_counter() - begin, 'archive_MB': path.stat().st_size / 1e6}
    return results


def object_sizes(trajectory) -> list[int]:
    """Bytes of the files of a node."""
    repository = trajectory.base.repository
    return [repository.get_object_size(name) for name in repository.list_object_names()]


def programs_seconds(node) -> float:
    """Wall time that the programs of the runs took, one after the other."""
    packs = [one.outputs.results.get_dict() for one in node.called if one.process_label == 'MdPackCalculation']
    return sum(run['wall_s'] for pack in packs for run in pack['runs'].values())


def main() -> None:
    """Run the batch in a profile that is there or in one of its own, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=200, help='runs of the batch (default 200)')
    parser.add_argument('--pack-to', type=float, default=1800.0, metavar='SECONDS', help='as pack_to_s (default 1800)')
    parser.add_argument('--profile', metavar='NAME', help='a profile with the code ufpnmr@localhost; default: its own')
    parser.add_argument('--daemon', action='store_true', help='run by the daemon, which must be there')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.profile is None:
            os.environ['AIIDA_PATH'] = folder
            setup = Path(sys.executable).with_name('aiida-ufpnmr')
            words = ['setup', '--daemon'] if arguments.daemon else ['setup']
            subprocess.run([setup, *words], check=True, capture_output=True)
        from aiida import load_profile

        load_profile(arguments.profile)
        try:
            results = measure(Path(folder), arguments.runs, arguments.pack_to, arguments.daemon)
        finally:
            if arguments.profile is None and arguments.daemon:
                subprocess.run(['verdi', 'daemon', 'stop', '--timeout', '60'], check=True, capture_output=True)
    for name, value in results.items():
        print(f'{name:26s} {"-" if value is None else format(value, ".4g")}')
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
