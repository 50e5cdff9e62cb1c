"""The trial of a cluster before anything of it is stored: a connection, a file, and a job for each program."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiida_ufpnmr.calculations.resources import Resources
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.cluster import PROGRAMS, Cluster
from aiida_ufpnmr.tools.connections import connected

if TYPE_CHECKING:
    from aiida.orm import Computer
    from aiida.transports import Transport

#: Names in the folder of a trial.
SCRIPT, OUT, ERR, STATUS = 'trial.sh', 'out', 'err', 'status'
#: Hours that a job of a trial asks for.
HOURS = 0.1
#: Seconds that a file may take to be seen on the login node after its job is gone.
FILE_DELAY_S = 30.0


def try_cluster(cluster: Cluster, computer: Computer, codes: list[str]) -> Iterator[tuple[str, str]]:
    """What was tried, and how it went, one after the other.

    Args:
        cluster: its description.
        computer: the computer made of it, not stored yet.
        codes: the programs to try.

    Raises:
        InputError: what failed, why, and the remedy.
    """
    settings = cluster.settings
    label = settings.label
    transport = computer.get_transport_class()(machine=settings.host, **settings.connection)
    with ExitStack() as stack:
        try:
            stack.enter_context(connected(transport))
            user = transport.whoami()
        except Exception as error:
            raise InputError(
                f'{label}: no connection to {settings.host} ({_line(error)}); "ssh {settings.host}" has to work '
                'without a password, with its key in ~/.ssh/known_hosts'
            ) from error
        yield 'connection', f'{user} on {settings.host}'
        folder = PurePosixPath(settings.work_directory.format(username=user)) / f'ufpnmr-trial-{uuid4().hex[:8]}'
        try:
            _write(transport, folder)
            yield 'work directory', str(folder.parent)
            for name in codes:
                _check_path(cluster, name, transport)
                yield name, _run(cluster, computer, name, transport, folder)
        finally:
            with suppress(OSError):
                transport.rmtree(folder)


def _write(transport: Transport, folder: PurePosixPath) -> None:
    """Write a file and read it back."""
    word = uuid4().hex
    try:
        transport.makedirs(folder, ignore_existing=True)
        _put(transport, folder / 'written', word)
        found = _get(transport, folder / 'written')
    except Exception as error:
        raise InputError(
            f'work_directory {folder.parent}: cannot be written to ({_line(error)}); give one that is yours there'
        ) from error
    if found != word:
        raise InputError(f'work_directory {folder.parent}: gives back other bytes than were written; give another')


def _check_path(cluster: Cluster, name: str, transport: Transport) -> None:
    """Look for the executable, or the image of a container, where its path says."""
    code = cluster.codes[name]
    path = code.path if code.image is None else code.image
    if not PurePosixPath(path).is_absolute():
        return  # the name of an image, which its engine fetches
    where = f'codes: {name}: {path}'
    if not transport.isfile(path):
        raise InputError(f'{where}: no such file on {cluster.settings.label}; "which {name}" there says where it is')
    if code.image is None and not transport.get_mode(path) & 0o111:
        raise InputError(f'{where}: may not be executed; "chmod +x" it there')


def _run(cluster: Cluster, computer: Computer, name: str, transport: Transport, folder: PurePosixPath) -> str:
    """Let a job of the scheduler say the version of a program."""
    from aiida.common.log import override_log_level
    from aiida.schedulers.datastructures import JobState

    place = folder / name
    transport.mkdir(place)
    _put(transport, place / SCRIPT, script(cluster, computer, name, transport.whoami()))
    scheduler = computer.get_scheduler()
    scheduler.set_transport(transport)
    label, wait = cluster.settings.label, cluster.settings.test_wait_s
    try:
        with override_log_level():  # what it would log is said below
            job = scheduler.submit_job(str(place), SCRIPT)
    except Exception as error:
        raise InputError(
            f'{label}: {cluster.settings.scheduler} took no job ({_line(error)}); give queue and account as '
            'the site wants them, or another scheduler'
        ) from error
    if not isinstance(job, str):
        raise InputError(f'{label}: {cluster.settings.scheduler} took no job ({job.message})')
    begin, pause = time.monotonic(), 0.5
    while True:
        there = scheduler.get_jobs(jobs=[job], as_dict=True).get(job)
        if there is None or there.job_state == JobState.DONE:
            break
        if time.monotonic() - begin > wait:
            with suppress(Exception):
                scheduler.kill_job(job)
            raise InputError(
                f'{label}: job {job}, which only asks {name} for its version, was still {there.job_state.value} after '
                f'{wait:g} s; give another queue, or a longer test_wait_s'
            )
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
    return _outcome(transport, place, f'{label}: codes: {name}', name)


def _outcome(transport: Transport, place: PurePosixPath, where: str, name: str) -> str:
    """The version that a program said; :class:`InputError` with its last words if it failed."""
    limit = time.monotonic() + FILE_DELAY_S
    while not transport.isfile(place / STATUS) and time.monotonic() < limit:
        time.sleep(0.5)
    status = _get(transport, place / STATUS).strip() if transport.isfile(place / STATUS) else ''
    words = [_get(transport, place / file) for file in (OUT, ERR) if transport.isfile(place / file)]
    lines = [line.strip() for text in words for line in text.splitlines() if line.strip()]
    if status == '0' and lines:
        if not any(name in line.lower() for line in lines):
            raise InputError(f'{where}: what runs there calls itself {lines[0]}, not {name}; correct path or image')
        return lines[0]
    said = lines[-1] if lines else 'it said nothing'
    ended = f'ended with status {status}' if status else 'was cut off before its end'
    raise InputError(f'{where}: the job that asked for its version {ended}: {said}; correct path, modules or prepend')


def script(cluster: Cluster, computer: Computer, name: str, user: str) -> str:
    """The job script that asks a program for its version, as AiiDA would write it."""
    from aiida.common.datastructures import CodeRunMode
    from aiida.schedulers.datastructures import JobTemplate, JobTemplateCodeInfo

    code, scheduler = cluster.codes[name], computer.get_scheduler()
    options: dict[str, Any] = Resources(max_wallclock_hours=HOURS).options(computer)
    resources = options.get('resources', {'num_machines': 1, 'num_mpiprocs_per_machine': 1})
    program = (name == 'gpaw' and code.python) or code.path
    run: Any = JobTemplateCodeInfo()
    run.prepend_cmdline_params = code.words(cluster.settings.work_directory.format(username=user))
    run.cmdline_params = [program, *PROGRAMS[name]]
    run.stdout_name, run.stderr_name, run.join_files = OUT, ERR, False
    run.use_double_quotes, run.wrap_cmdline_params = [False, False], False
    job: Any = JobTemplate()
    job.shebang, job.job_name = computer.get_shebang(), 'ufpnmr-trial'
    job.sched_output_path, job.sched_error_path, job.sched_join_files = '_out', '_err', False
    job.import_sys_environment = True
    job.job_resource = scheduler.create_job_resource(**resources)
    job.queue_name, job.account = options.get('queue_name'), options.get('account')
    job.max_wallclock_seconds = options['max_wallclock_seconds']
    job.prepend_text = '\n'.join(filter(None, [computer.get_prepend_text(), cluster.prepend(name)]))
    job.append_text = f'echo $? > {STATUS}'
    job.codes_info, job.codes_run_mode = [run], CodeRunMode.SERIAL
    return scheduler.get_submit_script(job)


def _put(transport: Transport, path: PurePosixPath, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / path.name
        local.write_text(text)
        transport.put(str(local), str(path))


def _get(transport: Transport, path: PurePosixPath) -> str:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / path.name
        transport.get(str(path), str(local))
        return local.read_text(errors='replace')


def _line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
