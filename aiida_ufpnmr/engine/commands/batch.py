"""``ufpnmr batch``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    Command,
    Duration,
    check_outputs,
    json_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import read_mapping
from aiida_ufpnmr.engine.signals import SECONDS_BETWEEN_LOOKS, deaf_to_ctrl_c, on_request_to_end

#: What a run leaves in its folder beside its own files.
STDOUT_FILE, STDERR_FILE, STATUS_FILE = 'ufpnmr.out', 'ufpnmr.err', 'exit-status'
#: Exit status where time did not suffice, as that of a run of molecular dynamics.
OUT_OF_TIME = 4


@click.command('batch', cls=Command, example='ufpnmr batch runs.yaml --jobs 4 --max-wall-time 23.5h --json runs.json')
@click.argument('path', type=INPUT, metavar='RUNS.yaml')
@click.option('--jobs', type=COUNT, default=1, show_default=True, metavar='N', help='Runs at a time.')
@click.option(
    '--max-wall-time',
    type=Duration(),
    metavar='TIME',
    help=f'Ask what runs to end after so many seconds, begin no other, and leave with status {OUT_OF_TIME}; 30min and '
    '23.5h are times, too.',
)
@json_option
def batch(path: Path, jobs: int, max_wall_time: float | None, json_path: Path | None) -> None:
    """Run several commands of ufpnmr, each in a folder of its own, some of them at a time.

    RUNS.yaml holds a line "FOLDER: [md, potential.h5, start.cif, ...]" for each; folders lie beside it, are made where
    they are missing, and are where its commands run. What a run prints goes to ufpnmr.out and ufpnmr.err there, its
    exit status to exit-status. One that fails stops no other. Those that ended well before are not run again.
    """
    check_outputs(json_path)
    commands = read_commands(path)
    states: dict[str, dict[str, Any]] = {folder: {'state': 'waiting'} for folder in commands}
    reason = run_all({path.parent / folder: words for folder, words in commands.items()}, states, jobs, max_wall_time,
                     json_path)  # fmt: skip
    rows = [
        (folder, one['state'], one.get('exit_status', '-'), one.get('wall_s', '-')) for folder, one in states.items()
    ]
    print_table([('run', 'state', 'exit status', 'wall, s'), *rows])
    failed = [folder for folder, one in states.items() if one.get('exit_status') != 0]
    if failed:
        error = click.ClickException(
            f'{path}: {reason or "ended"}; {len(failed)} of {len(states)} runs did not end well, first {failed[0]}'
        )
        error.exit_code = OUT_OF_TIME if reason == 'out of time' else 1
        raise error


def read_commands(path: Path) -> dict[str, list[str]]:
    """The words of each command by its folder.

    Raises:
        InputError: no file of that kind, a folder elsewhere, or what is no list of words.
    """
    commands = {}
    for folder, words in read_mapping(path, 'runs').items():
        name = Path(str(folder))
        if name.is_absolute() or '..' in name.parts:
            raise InputError(f'{path}: {folder}: a folder must lie beside the file')
        if not isinstance(words, list) or not words:
            raise InputError(f'{path}: {folder}: must be a list of words, as in "[md, potential.h5, start.cif]"')
        if words[0] == 'batch':
            raise InputError(f'{path}: {folder}: a batch holds no other; write its commands here')
        commands[str(folder)] = [str(word) for word in words]
    if not commands:
        raise InputError(f'{path}: holds no runs')
    return commands


def run_all(
    commands: Mapping[Path, Sequence[str]],
    states: dict[str, dict[str, Any]],
    at_once: int,
    most_s: float | None,
    json_path: Path | None,
) -> str:
    """Run all commands; the reason why some were not begun, or were asked to end, empty where there is none.

    A request to end (Ctrl-C, SIGTERM) is handed on to what runs.

    Args:
        commands: words by folder.
        states: state of each in the same order, which is brought up to date, and written as JSON at each change.
        at_once: so many run at a time.
        most_s: after so many seconds all are asked to end.
        json_path: where the states are written, if anywhere.
    """
    begin, reason = time.monotonic(), ''
    waiting = list(zip(states, commands))
    running: dict[str, tuple[subprocess.Popen, Path, float]] = {}

    def end(why: str) -> None:
        nonlocal reason
        reason = reason or why
        waiting.clear()
        for process, _, _ in running.values():
            process.terminate()

    def tell() -> None:
        timing = {'wall_s': time.monotonic() - begin}
        report({'runs': states, 'stop_reason': reason, 'timing': timing}, json_path)

    with on_request_to_end(lambda: end('interrupted')), progress(len(commands), 'batch', 'run') as bar:
        while waiting or running:
            changed = False
            while waiting and len(running) < at_once:
                name, folder = waiting.pop(0)
                changed = True
                if ended_well(folder):
                    states[name] = {'state': 'ended', 'exit_status': 0}
                    bar.update()
                    continue
                running[name] = begin_run(folder, commands[folder]), folder, time.monotonic()
                states[name] = {'state': 'running'}
            for name, (process, folder, since) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                status = code if code >= 0 else 128 - code  # as a shell gives a command that a signal ended
                (folder / STATUS_FILE).write_text(f'{status}\n')
                states[name] = {'state': 'ended', 'exit_status': status, 'wall_s': round(time.monotonic() - since, 3)}
                del running[name]
                bar.update()
                changed = True
            if changed:
                tell()
            elif most_s is not None and time.monotonic() - begin > most_s and not reason:
                end('out of time')
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)
    tell()
    return reason


def ended_well(folder: Path) -> bool:
    """Whether a run that ended well has left its status there."""
    status = folder / STATUS_FILE
    return status.is_file() and status.read_text().strip() == '0'


def begin_run(folder: Path, words: Sequence[str]) -> subprocess.Popen:
    """Begin a command in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATUS_FILE).unlink(missing_ok=True)
    command = [sys.executable, '-m', 'aiida_ufpnmr.engine.main', *words]
    with ExitStack() as stack:
        out, err = (stack.enter_context(open(folder / name, 'w')) for name in (STDOUT_FILE, STDERR_FILE))
        with deaf_to_ctrl_c():
            return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
