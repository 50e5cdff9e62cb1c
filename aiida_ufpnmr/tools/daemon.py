"""The daemon: stopped so that nothing of it is left, and started as it was.

What AiiDA calls stopped may leave workers behind, and a broker sends to a new worker what it believes an old one lost.
So before a service is restarted, and before the queue is mended, all workers are ended and seen to have ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from aiida.common.exceptions import ConfigurationError
from aiida.engine.daemon.client import DaemonException, get_daemon_client
from aiida.manage import get_config, get_manager

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools import services, task_queue
from aiida_ufpnmr.tools.foreground import active_of_daemon
from aiida_ufpnmr.tools.profile import is_daemon_running, loaded_profile

#: The words after ``verdi daemon`` of its parts.
_PARTS = {'start-circus', 'worker', 'broker'}
#: Seconds in which workers end when they are asked to, and in which a server notices that they have.
PATIENCE = 60.0


def family() -> list[psutil.Process]:
    """All processes of this profile's daemon on this machine: its head and what that runs."""
    return [process for process, _ in _of_daemon()]


def workers() -> list[psutil.Process]:
    """The processes that run processes of AiiDA, also those that outlived the head of the daemon."""
    return [process for process, words in _of_daemon() if words[-1] == 'worker']


def _of_daemon() -> Iterator[tuple[psutil.Process, list[str]]]:
    home, name, sockets = Path(get_config().dirpath).resolve(), loaded_profile().name, _socket_folder()
    for process in psutil.process_iter(['cmdline']):
        words = process.info['cmdline'] or []
        is_part = any(Path(word).name == 'verdi' for word in words[:2]) and name in words and _PARTS & set(words)
        is_watch = sockets and any('circus' in word for word in words) and any(sockets in word for word in words)
        if not (is_part or is_watch):
            continue
        try:
            place = Path(process.environ().get('AIIDA_PATH', Path.home())).resolve()
            is_alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # it has ended, or is another user's
            continue
        if is_alive and home in (place, place / '.aiida'):
            yield process, words


def _socket_folder() -> str:
    """The folder with the sockets of the head, by which its gatherer of statistics is known; empty where none is."""
    try:
        return Path(get_daemon_client().circus_socket_file).read_text(encoding='utf-8').strip()
    except FileNotFoundError:
        return ''


def workers_wanted() -> int | None:
    """The number of workers that the daemon was asked for; ``None`` where it does not say."""
    client = get_daemon_client()
    try:
        answer = client.call_client({'command': 'options', 'properties': {'name': client.daemon_name}})
    except DaemonException:
        return None
    return answer.get('options', {}).get('numprocesses')


def pause() -> int:
    """Stop the daemon, end what is left of it, and wait until nothing of it can write; how many workers it had.

    :func:`resume` starts as many.

    Raises:
        InputError: a worker on another machine still takes tasks.
    """
    client = get_daemon_client()
    number = (workers_wanted() if client.is_daemon_running else None) or len(workers()) or paused_workers() or 0
    _pause_file().write_text(json.dumps({'workers': number}), encoding='utf-8')
    try:
        if client.is_daemon_running:
            client.stop_daemon(wait=True, timeout=round(PATIENCE))
    except (DaemonException, OSError):  # it hangs, or has died and left its file behind
        pass
    end_leftovers()
    Path(client.circus_pid_file).unlink(missing_ok=True)
    wait_until_released()
    return number


def end_leftovers() -> None:
    """End all processes of the daemon; what does not end when it is asked to is killed."""
    left = family()
    for process in left:
        _signal(process.terminate)
    for process in psutil.wait_procs(left, timeout=PATIENCE / 2)[1]:
        _signal(process.kill)
    psutil.wait_procs(left, timeout=PATIENCE / 2)
    still = family()
    if still:
        raise InputError(f'processes {", ".join(str(p.pid) for p in still)} of the daemon do not end; kill them')


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        pass


def wait_until_released() -> None:
    """Wait until the services have noticed that no worker is connected any more."""
    end = time.monotonic() + PATIENCE
    while busy := services.busy():
        if time.monotonic() > end:
            raise InputError(f'{busy}; stop what still works on this profile, on other machines too')
        time.sleep(0.5)


def start_daemon(number: int | None = None) -> str:
    """Start the daemon of the loaded profile with so many workers, if it does not run; ``started`` or ``running``.

    Raises:
        InputError: a service does not answer, or the daemon cannot be started.
    """
    client = get_daemon_client()
    try:
        if is_daemon_running(client):
            return 'running'
        services.require()
        end_leftovers()
        _forget_dead_broker()
        if active_of_daemon():  # it may have been stopped or killed between storing and queueing them
            wait_until_released()
            task_queue.mend()
        client.start_daemon(number or 1)
    except (ConfigurationError, DaemonException) as error:
        raise InputError(f'the daemon cannot be started: {error}; see "verdi daemon start"') from error
    _pause_file().unlink(missing_ok=True)
    return 'started'


def _forget_dead_broker() -> None:
    """Remove the address of a broker that was killed: a worker that starts before the new one would wait there."""
    profile, broker = loaded_profile(), get_manager().get_broker()
    if profile.process_control_backend == 'core.zeromq' and broker is not None and not broker.check_service_reachable():
        (Path(get_config().filepaths(profile)['broker_service']['dir']) / 'broker.sockets').unlink(missing_ok=True)


def paused_workers() -> int | None:
    """The number of workers that the daemon had when it was paused; ``None`` where it is not."""
    try:
        return json.loads(_pause_file().read_text(encoding='utf-8'))['workers']
    except FileNotFoundError:
        return None


def resume(number: int | None = None) -> str:
    """Start the daemon again with so many workers, or as many as before, when the services answer."""
    services.wait(PATIENCE)
    return start_daemon(number or paused_workers())


def _pause_file() -> Path:
    return Path(get_config().dirpath) / 'daemon' / f'ufpnmr-paused-{loaded_profile().name}.json'
