"""Findings about the services and the daemon."""

from __future__ import annotations

import time
from typing import Any

from aiida.engine.daemon.client import DaemonException, get_daemon_client
from aiida.manage import get_config_option, get_manager

from aiida_ufpnmr.tools import daemon, services, task_queue
from aiida_ufpnmr.tools.doctor.finding import REPAIR, Finding
from aiida_ufpnmr.tools.foreground import active_of_daemon
from aiida_ufpnmr.tools.profile import is_daemon_running

#: Erlang for no time limit.
NO_TIMEOUT = ('{ok,undefined}', '{ok,infinity}')
#: Seconds in which a worker that starts has told the broker that it takes tasks, and that has told of it.
SETTLING_s = 30.0
#: Seconds by which the clocks of a server and of this machine may differ.
CLOCKS_s = 2.0


def silent_services() -> list[Finding]:
    """Services that do not answer: nothing else can be looked at without them."""
    remedy = 'start it, then run "aiida-ufpnmr doctor --repair", since workers that were cut off from it do not recover'
    return [Finding('service-silent', name, fault, remedy) for name, fault in services.silent().items()]


def broker_version() -> list[Finding]:
    """A RabbitMQ that takes tasks away from workers after half an hour, which runs what is running a second time."""
    if not task_queue.is_rabbitmq():
        return []
    broker: Any = get_manager().get_broker()
    if broker.is_rabbitmq_version_supported():
        return []
    timeout = services.consumer_timeout()
    if timeout in NO_TIMEOUT or (timeout is None and not get_config_option('warnings.rabbitmq_version')):
        return []
    found = f'its consumer_timeout is {timeout[4:-1]} ms' if timeout else 'its consumer_timeout is unknown here'
    learnt = '' if timeout else ', and say with "verdi config set warnings.rabbitmq_version false" that this is done'
    return [
        Finding(
            'broker-timeout',
            f'RabbitMQ {broker.get_rabbitmq_version()}',
            f'{found}: what runs longer than that is run twice',
            'write [{rabbit, [{consumer_timeout, undefined}]}]. into its advanced.config and restart it between '
            f'"aiida-ufpnmr pause" and "aiida-ufpnmr resume"{learnt}',
        )
    ]


def daemon_state() -> list[Finding]:
    """A daemon that is down while processes wait, that died, does not answer, or has fewer workers than it shall."""
    client, workers = get_daemon_client(), daemon.workers()
    waiting = len(active_of_daemon())
    if not is_daemon_running(client):
        if client.is_daemon_running or workers:
            left = f', and {len(workers)} workers live on without it' if workers else ''
            message = f'it died without being stopped{left}'
            return [Finding('daemon-dead', 'the daemon', message, REPAIR, needs_stop=True)]
        if waiting:
            is_paused = daemon.paused_workers() is not None  # on purpose, so the repair does not start it
            message = f'it is {"paused" if is_paused else "down"}, and {waiting} processes wait'
            remedy = 'run "aiida-ufpnmr resume"' if is_paused else REPAIR
            return [Finding('daemon-down', 'the daemon', message, remedy, needs_stop=not is_paused)]
        return []
    try:
        client.get_status()
    except DaemonException:
        return [Finding('daemon-stuck', 'the daemon', 'it does not answer', REPAIR, needs_stop=True)]
    wanted = daemon.workers_wanted() or 0
    found = []
    if len(workers) < wanted:
        message = f'{len(workers)} of {wanted} workers live'
        found.append(Finding('daemon-workers', 'the daemon', message, REPAIR, needs_stop=True))
    settled = sum(time.time() - worker.create_time() > SETTLING_s for worker in workers)
    heard = task_queue.workers_heard()
    if heard is not None and heard < settled:
        message = f'its broker has lost {settled - heard} of {settled} workers: what is submitted may wait for ever'
        found.append(Finding('daemon-deaf', 'the daemon', message, REPAIR, needs_stop=True))
    return found + _outlived(min((worker.create_time() for worker in workers), default=time.time()))


def _outlived(oldest_s: float) -> list[Finding]:
    """Services that were restarted under workers that are older."""
    starts = {'PostgreSQL': services.database_start_s(), 'RabbitMQ': services.broker_start_s()}
    return [
        Finding(
            'service-restarted',
            name,
            'it was restarted under the live daemon: processes may be stranded, or run twice',
            REPAIR,
            needs_stop=True,
        )
        for name, start in starts.items()
        if start is not None and start > oldest_s + CLOCKS_s
    ]
