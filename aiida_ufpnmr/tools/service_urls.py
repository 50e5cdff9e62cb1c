"""PostgreSQL and RabbitMQ as storage and broker of a profile that a group shares, from their URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import ParseResult, unquote, urlparse

from aiida_ufpnmr.engine.errors import InputError

#: The form of each URL.
STORAGE_FORM = 'postgresql://user:password@host:port/database'
BROKER_FORM = 'rabbitmq://user:password@host:port/virtual-host'
#: Where the password of PostgreSQL stands if it is not in the URL.
PASSWORD_VARIABLE = 'PGPASSWORD'


def storage_of(url: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The configuration of AiiDA's PostgreSQL storage from a URL, without the place of files.

    Raises:
        InputError: another form of URL, or no password; the message never holds the password.
    """
    parts = _parts(url, ('postgresql', 'postgres'), '--profile-storage', STORAGE_FORM)
    name = unquote(parts.path.lstrip('/'))
    if not name or '/' in name or not parts.username:
        raise InputError(f'--profile-storage: names no database, or no user; give {STORAGE_FORM}')
    password = parts.password or environment.get(PASSWORD_VARIABLE)
    if not password:
        raise InputError(f'--profile-storage: holds no password; put it into the URL, or into {PASSWORD_VARIABLE}')
    return {
        'database_engine': 'postgresql_psycopg',
        'database_hostname': parts.hostname or 'localhost',
        'database_port': parts.port or 5432,
        'database_username': unquote(parts.username),
        'database_password': unquote(parts.password) if parts.password else password,
        'database_name': name,
    }


def create_database(storage: Mapping[str, Any]) -> bool:
    """Make sure that there is a database; True where it was made here.

    Raises:
        InputError: no server, a wrong password, or no right to make one; with the remedy.
    """
    import psycopg
    from psycopg import sql

    name, server = storage['database_name'], f'{storage["database_hostname"]}:{storage["database_port"]}'
    login = {
        'host': storage['database_hostname'],
        'port': storage['database_port'],
        'user': storage['database_username'],
        'password': storage['database_password'],
        'connect_timeout': 10,
    }
    try:
        with psycopg.connect(**login, dbname=name):
            return False
    except psycopg.OperationalError as error:
        if f'database "{name}" does not exist' not in str(error):
            raise InputError(
                f'--profile-storage: no connection to PostgreSQL at {server} ({_last_line(error)}); correct host, '
                'port, user or password'
            ) from None
    order = "CREATE DATABASE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    try:
        # a connection that is no transaction, in which no database can be made
        with psycopg.connect(**login, dbname='postgres', autocommit=True) as connection:
            connection.execute(sql.SQL(order).format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise InputError(
            f'--profile-storage: {login["user"]} cannot make {name} at {server} ({_last_line(error)}); ask '
            f'whoever runs it for: {order.format(name)} OWNER {login["user"]}'
        ) from None
    return True


def drop_database(storage: Mapping[str, Any]) -> None:
    """Remove a database that was made here and that no profile came to use."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(
        host=storage['database_hostname'],
        port=storage['database_port'],
        user=storage['database_username'],
        password=storage['database_password'],
        dbname='postgres',
        autocommit=True,
    ) as connection:
        order = sql.SQL('DROP DATABASE IF EXISTS {} WITH (FORCE)')
        connection.execute(order.format(sql.Identifier(storage['database_name'])))


def broker_of(url: str) -> dict[str, Any]:
    """The configuration of AiiDA's RabbitMQ broker from a URL, after a connection; :class:`InputError` without one."""
    from aiida.brokers.rabbitmq.defaults import detect_rabbitmq_config

    parts = _parts(url, ('rabbitmq', 'amqp', 'amqps'), '--broker', BROKER_FORM)
    host, port = parts.hostname or 'localhost', parts.port or 5672
    try:
        return detect_rabbitmq_config(
            protocol='amqps' if parts.scheme == 'amqps' else 'amqp',
            username=unquote(parts.username or 'guest'),
            password=unquote(parts.password or 'guest'),
            host=host,
            port=port,
            virtual_host=unquote(parts.path.lstrip('/')),
        )
    except ConnectionError as error:
        raise InputError(
            f'--broker: no connection to RabbitMQ at {host}:{port} ({_last_line(error.__cause__ or error)}); correct '
            'host, port, user, password or virtual host'
        ) from None


def files_of(config_folder: str, profile: str) -> str:
    """The place of the files of a profile, as a URI."""
    return (Path(config_folder) / 'repository' / profile).absolute().as_uri()


def _parts(url: str, schemes: tuple[str, ...], option: str, form: str) -> ParseResult:
    parts = urlparse(url)
    try:
        if parts.scheme in schemes and (parts.port is None or parts.port > 0):
            return parts
    except ValueError:
        pass
    raise InputError(f'{option}: is no URL such as {form}')  # without what was given, which may hold a password


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
