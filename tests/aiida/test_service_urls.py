"""Claims about profiles whose data and work a server keeps."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from own_profile import OwnProfile

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.service_urls import broker_of, create_database, drop_database, storage_of

SECRET = 'se@cret'


def test_a_url_says_all_that_a_storage_needs():
    assert storage_of('postgresql://me:se%40cret@server:5433/aiida_me', {}) == {
        'database_engine': 'postgresql_psycopg',
        'database_hostname': 'server',
        'database_port': 5433,
        'database_username': 'me',
        'database_password': SECRET,
        'database_name': 'aiida_me',
    }
    short = storage_of('postgresql://me@server/aiida', {'PGPASSWORD': SECRET})
    assert (short['database_password'], short['database_port']) == (SECRET, 5432)


@pytest.mark.parametrize(
    ('url', 'reason'),
    [
        ('mysql://me:se%40cret@server/aiida', 'no URL such as postgresql://'),
        ('postgresql://me:se%40cret@server:port/aiida', 'no URL such as'),
        ('postgresql://me:se%40cret@server', 'names no database'),
        ('postgresql://server/aiida', 'or no user'),
        ('postgresql://me@server/aiida', 'no password; put it into the URL, or into PGPASSWORD'),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url, reason):
    with pytest.raises(InputError, match=reason) as refused:
        storage_of(url, {})
    assert 'cret' not in str(refused.value)


def test_services_that_do_not_answer_are_named_without_their_password():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    storage = storage_of(f'postgresql://me:se%40cret@127.0.0.1:{port}/aiida', {})
    with pytest.raises(InputError, match=f'no connection to PostgreSQL at 127.0.0.1:{port}') as refused:
        create_database(storage)
    with pytest.raises(InputError, match=f'no connection to RabbitMQ at 127.0.0.1:{port}') as refused_too:
        broker_of(f'rabbitmq://me:se%40cret@127.0.0.1:{port}/')
    for told in (refused, refused_too):
        assert 'cret' not in str(told.value) and 'correct host' in str(told.value)


def server_programs() -> Path | None:
    """The folder of the programs of a PostgreSQL server, if one is installed."""
    found = shutil.which('initdb')
    installed = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'))
    return Path(found).parent if found else installed[-1].parent if installed else None


@pytest.fixture(scope='module')
def server():
    """A PostgreSQL server of its own, with a user who may make databases and one who may not."""
    programs = server_programs()
    if programs is None:
        pytest.skip('no PostgreSQL server is installed')
    folder = Path(tempfile.mkdtemp(prefix='ufpnmr-postgresql-'))  # not below a folder of root alone
    as_server = []
    if os.geteuid() == 0:  # as whom a server does not run
        if shutil.which('runuser') is None or subprocess.run(['id', 'postgres'], capture_output=True).returncode:
            pytest.skip('a PostgreSQL server does not run as root, and there is no user postgres')
        as_server = ['runuser', '-u', 'postgres', '--']
        shutil.chown(folder, 'postgres')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    (folder / 'password').write_text(SECRET)
    (folder / 'password').chmod(0o644)

    def call(program, *words):
        subprocess.run([*as_server, programs / program, *words], check=True, capture_output=True)

    data = folder / 'data'
    call('initdb', '-D', data, '-U', 'chief', '-A', 'scram-sha-256', f'--pwfile={folder / "password"}')
    call('pg_ctl', '-D', data, '-w', '-o', f'-p {port} -k {folder}', '-l', folder / 'log', 'start')
    try:
        import psycopg

        login = {'host': '127.0.0.1', 'port': port, 'user': 'chief', 'password': SECRET, 'dbname': 'postgres'}
        with psycopg.connect(**login, autocommit=True) as connection:
            connection.execute(f"CREATE USER maker CREATEDB PASSWORD '{SECRET}'")
            connection.execute(f"CREATE USER guest PASSWORD '{SECRET}'")
        yield f'127.0.0.1:{port}'
    finally:
        call('pg_ctl', '-D', data, '-m', 'immediate', 'stop')
        shutil.rmtree(folder, ignore_errors=True)


def test_a_database_is_made_once_and_by_those_who_may(server):
    storage = storage_of(f'postgresql://maker:se%40cret@{server}/made', {})
    assert create_database(storage) and not create_database(storage)
    drop_database(storage)
    assert create_database(storage)
    with pytest.raises(InputError, match="permission denied .*; ask whoever runs it for: CREATE DATABASE no .*'C'"):
        create_database(storage_of(f'postgresql://guest:se%40cret@{server}/no', {}))
    with pytest.raises(InputError, match='password authentication failed .*; correct') as refused:
        create_database(storage_of(f'postgresql://maker:other@{server}/made', {}))
    assert 'other' not in str(refused.value)


@pytest.mark.slow
def test_a_profile_keeps_its_data_in_postgresql_and_is_there_the_second_time(server, tmp_path):
    profile = OwnProfile(tmp_path)
    words = ['setup', '--profile', 'group', '--profile-storage', f'postgresql://maker@{server}/group']
    profile.environment['PGPASSWORD'] = SECRET
    assert 'profile   group                  made' in profile.tool('aiida-ufpnmr', *words)
    assert 'profile   group                  there' in profile.tool('aiida-ufpnmr', *words)
    backend = 'import json\nfrom aiida import load_profile\nprint(json.dumps(load_profile("group").storage_backend))'
    assert profile.python(backend) == 'core.psql_dos'
    other = subprocess.run(
        [shutil.which('aiida-ufpnmr'), *words[:-1], f'postgresql://maker@{server}/other'],
        env=profile.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert other.returncode == 2 and 'has another storage; leave the option out' in other.stderr
