"""Runs that differ in their seed alone, at the same time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.signals import SECONDS_BETWEEN_LOOKS, deaf_to_ctrl_c, on_request_to_end

#: Results that replicas are averaged over.
_AVERAGED = ('temperature_mean_K', 'pressure_mean_GPa', 'volume_mean_angstrom3', 'energy_drift_meV_per_atom_per_ps')


def replica_path(path: Path, number: int) -> Path:
    """Name of one replica's file: ``run.h5`` becomes ``run-0.h5`` and so on."""
    return path.with_name(f'{path.stem}-{number}{path.suffix}')


def in_processes(task: Callable[..., dict], arguments: Sequence[tuple], at_once: int) -> list[dict | None]:
    """Call ``task`` with each tuple of arguments, ``at_once`` of them at a time.

    A request to end (Ctrl-C, SIGTERM) is handed on to those that run, and no others are begun.

    Returns:
        What they returned, in order; ``None`` for those that were never begun, or killed.

    Raises:
        Exception: the first one that a task raised, after the others have been asked to end.
    """
    context = multiprocessing.get_context('spawn')
    results: list[Any] = [None] * len(arguments)
    waiting = list(range(len(arguments)))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    failure: Exception | None = None

    def end_all():
        waiting.clear()
        for _, process in running.values():
            process.terminate()

    with on_request_to_end(end_all), progress(len(arguments), 'md', 'replica') as bar:
        while waiting or running:
            while waiting and len(running) < at_once:
                number = waiting.pop(0)
                mine, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_report_to, args=(theirs, task, arguments[number]))
                with deaf_to_ctrl_c():
                    process.start()
                theirs.close()
                running[mine] = number, process
            ready: list[Any] = wait(list(running), SECONDS_BETWEEN_LOOKS)
            for connection in ready:
                number, process = running.pop(connection)
                try:
                    results[number] = connection.recv()
                except EOFError:  # killed
                    pass
                process.join()
                bar.update()
                if isinstance(results[number], Exception):
                    failure = failure or results[number]
                    end_all()
    if failure:
        raise failure
    return results


def _report_to(connection: Connection, task: Callable[..., dict], arguments: tuple) -> None:
    os.environ['TQDM_DISABLE'] = '1'  # one bar is enough
    try:
        connection.send(task(*arguments))
    except Exception as error:
        connection.send(error)


def summary(results: Sequence[dict]) -> dict:
    """Replicas put together: means over them, and under ``standard_errors`` how well these are known.

    ``stop_reason`` is that of the first replica that did not finish.
    """
    errors: dict[str, float | None] = {}
    together = {'replicas': list(results), 'standard_errors': errors, 'stop_reason': 'finished', 'stop_message': ''}
    for name in _AVERAGED:
        values: list[Any] = [found.get(name) for found in results]
        if all(value is not None for value in values):
            together[name] = np.mean(values)
            errors[name] = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    for found in results:
        if found['stop_reason'] != 'finished':
            together |= {name: found[name] for name in ('stop_reason', 'stop_message')}
            break
    timing = [found['timing'] for found in results]
    together['timing'] = {
        'wall_s': max(found['wall_s'] for found in timing),
        **{name: sum(found[name] for found in timing) for name in ('cpu_s', 'atom_steps_per_second', 'ns_per_day')},
    }
    return together
