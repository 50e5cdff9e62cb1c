"""The services of a profile, its database and its broker: whether they answer, who writes, since when they run."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from typing import Any

from aiida.manage import get_manager

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools import task_queue
from aiida_ufpnmr.tools.profile import loaded_profile


def is_postgresql() -> bool:
    return loaded_profile().storage_backend == 'core.psql_dos'


def silent() -> dict[str, str]:
    """The services that do not answer, by name, with what is known of each."""
    return {**_database_fault(), **_broker_fault()}


def _database_fault() -> dict[str, str]:
    if not is_postgresql():
        return {}
    import psycopg

    config = loaded_profile().storage_config
    host, port = config['database_hostname'], config['database_port']
    try:
        with psycopg.connect(
            host=host,
            port=port,
            user=config['database_username'],
            password=config['database_password'],
            dbname=config['database_name'],
            connect_timeout=10,
        ):
            return {}
    except psycopg.OperationalError as error:
        reason = ' '.join(str(error).split()).partition(' Is the server')[0]
        return {f'PostgreSQL at {host}:{port}': f'it does not answer ({reason})'}


def _broker_fault() -> dict[str, str]:
    for name in ('aiormq', 'asyncio'):  # which say on stderr what is said here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    broker = get_manager().get_broker() if task_queue.is_rabbitmq() else None
    if broker is None or broker.check_service_reachable():
        return {}
    config = loaded_profile().process_control_config
    return {f'RabbitMQ at {config["broker_host"]}:{config["broker_port"]}': 'it does not answer'}


def require() -> None:
    """:class:`InputError` where a service does not answer."""
    for name, fault in silent().items():
        raise InputError(f'{name}: {fault}; start it first')


def wait(seconds: float) -> None:
    """Wait until all services answer; :class:`InputError` where one does not within these seconds."""
    end = time.monotonic() + seconds
    while silent() and time.monotonic() < end:
        time.sleep(1.0)
    require()


def busy() -> str | None:
    """Who can still write, where no worker should: one line, or ``None``."""
    number = task_queue.consumers()
    if number:
        return f'{number} workers take tasks from the broker'
    if is_postgresql():
        # a transaction has a number as soon as it has written something
        working = _query(
            'SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND '
            'backend_xid IS NOT NULL AND pid != pg_backend_pid()'
        )[0]
        if working:
            return f'{working} connections write to the database'
    return None


def _query(sql: str) -> list[Any]:
    """The first column of what the database answers."""
    from sqlalchemy import text

    storage: Any = get_manager().get_profile_storage()
    with storage.get_session().get_bind().connect() as connection:
        return [row[0] for row in connection.execute(text(sql))]


def database_start_s() -> float | None:
    """When the server of the database was started, in seconds of the epoch; ``None`` where there is no server."""
    if not is_postgresql():
        return None
    return float(_query('SELECT extract(epoch FROM pg_postmaster_start_time())')[0])


def broker_start_s() -> float | None:
    """When the broker's server was started, in seconds of the epoch; ``None`` where that cannot be learnt from here."""
    uptime_ms = _rabbitmq('element(1, erlang:statistics(wall_clock))') if task_queue.is_rabbitmq() else None
    return None if uptime_ms is None else time.time() - int(uptime_ms) / 1000


def consumer_timeout() -> str | None:
    """``consumer_timeout`` of the broker in Erlang, ``{ok,undefined}`` where it is off; ``None`` if unknown."""
    return _rabbitmq('application:get_env(rabbit, consumer_timeout)')


def _rabbitmq(expression: str) -> str | None:
    """What the node of RabbitMQ on this machine makes of an expression, if it is the broker of this profile.

    ``RABBITMQ_NODENAME`` names it where it has not the usual name.
    """
    program = shutil.which('rabbitmqctl')
    if program is None:
        return None
    port = loaded_profile().process_control_config['broker_port']
    asked = f'{{[P || {{_, _, _, _, _, P, _}} <- rabbit_networking:active_listeners()], {expression}}}.'
    try:
        answer = subprocess.run([program, '-q', 'eval', asked], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    ports, found, value = answer.stdout.strip().removeprefix('{').partition('],')
    mine = ports.removeprefix('[').split(',')
    return value.removesuffix('}') if answer.returncode == 0 and found and str(port) in mine else None
