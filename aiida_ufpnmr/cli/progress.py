"""Run a workflow in the foreground and say how far it is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from contextlib import suppress

import click
from aiida.engine import Process, ProcessBuilder
from aiida.engine.runners import Runner
from aiida.orm import Log, ProcessNode, QueryBuilder, WorkChainNode
from plumpy.exceptions import KilledError

from aiida_ufpnmr.tools.connections import runner_without_broker
from aiida_ufpnmr.tools.foreground import end_interrupted, run_here
from aiida_ufpnmr.tools.queries import called_below, pk_of, process_node, step_name

SECONDS_BETWEEN_LOOKS = 1.0
#: Looks at long workflows take a while; they take this share of the time at most.
MOST_SHARE = 0.05


def run_with_progress(builder: ProcessBuilder) -> WorkChainNode:
    """Run to the end, and print a line for each calculation that ended, on a terminal another for those that run."""
    _quieten_console()
    with runner_without_broker() as runner:
        process = runner.instantiate_process(builder)
        click.echo(f'{process.node.process_label} #{process.node.pk}')
        has_ended = asyncio.Event()
        watching = runner.loop.create_task(_watch(process.node, has_ended))
        with run_here(process.node):
            try:
                _execute(process, runner)
            except KilledError as error:
                number = end_interrupted(process.node)
                jobs = f'; {number} of its jobs cancelled' if number else ''
                raise click.ClickException(
                    f'{process.node.process_label}<{process.node.pk}> was interrupted{jobs}; what had ended is kept, '
                    'and the same command takes up whole labels and runs of batches'
                ) from error
        has_ended.set()
        runner.loop.run_until_complete(watching)
    return process.node


def _execute(process: Process, runner: Runner) -> None:
    """Run to the end. An interruption kills the process between two of its steps.

    AiiDA's own handlers kill it wherever a signal arrives, which fails within a transaction of the database.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        runner.loop.add_signal_handler(number, process.kill, 'Killed, since the command that ran it was interrupted.')
    try:
        process.execute()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            runner.loop.remove_signal_handler(number)


def _quieten_console() -> None:
    """Keep AiiDA's reports off the console: the progress lines say as much, and the database has them all."""
    for handler in logging.getLogger('aiida').handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)


async def _watch(root: ProcessNode, has_ended: asyncio.Event) -> None:
    begun: dict[int, tuple[str, float]] = {}
    telling: dict[int, bool] = {}
    ended: set[int] = set()
    live = sys.stderr.isatty()
    tells, told = _tells(root), 0
    while True:
        look_began = time.process_time()
        finished = root.is_terminated  # looked at first: what ends meanwhile is still printed
        below = called_below(root)
        if tells:
            telling |= {pk: _tells(process_node(pk)) for pk in below if pk not in telling}
            for line in _reports([pk_of(root), *(pk for pk, does in telling.items() if does)])[told:]:
                _clear(live)
                click.echo(f'  {line}')
                told += 1
        jobs = [pk for pk, called in below.items() if called.is_job]
        for pk in jobs:
            if pk not in begun:
                begun[pk] = step_name(process_node(pk)), time.monotonic()
            if below[pk].has_ended and pk not in ended:
                ended.add(pk)
                node, (name, begin) = process_node(pk), begun[pk]
                _clear(live)
                verdict = 'done' if node.is_finished_ok else f'failed: {node.exit_message}'
                click.echo(f'  {name:<16}#{pk:<8}{time.monotonic() - begin:>7.0f} s  {verdict}')
        if finished:
            _clear(live)
            return
        if live:
            running = [
                f'{name} {time.monotonic() - begin:.0f} s' for pk, (name, begin) in begun.items() if pk not in ended
            ]
            _clear(live)
            click.echo('  running: ' + (', '.join(running) or 'preparing'), nl=False, err=True)
        pause = max(SECONDS_BETWEEN_LOOKS, (time.process_time() - look_began) / MOST_SHARE)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(has_ended.wait(), pause)


def _tells(node: ProcessNode) -> bool:
    """Whether what a process reports is for those who launched it."""
    return getattr(node.process_class, 'TELLS', False)


def _reports(workflows: list[int]) -> list[str]:
    """What workflows have reported so far, without who says so."""
    query = QueryBuilder().append(Log, filters={'dbnode_id': {'in': workflows}}, project=['id', 'message'])
    return [message.partition(']: ')[2] for _, message in sorted(query.iterall()) if ']: ' in message]


def _clear(live: bool) -> None:
    if live:
        click.echo('\r\033[K', nl=False, err=True)
