"""Fixtures of the tests on a cluster: services that are started for them alone, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import Laboratory
from services import PostgreSQL, RabbitMQ, Slurm, missing

#: Runs of a test, of each kind one at least; UFPNMR_CLUSTER_RUNS sets another number.
NUMBER_OF_RUNS = int(os.environ.get('UFPNMR_CLUSTER_RUNS', '4'))


@pytest.fixture(scope='session')
def number() -> int:
    return NUMBER_OF_RUNS


@pytest.fixture(scope='session')
def services() -> Iterator[tuple[PostgreSQL, RabbitMQ, Slurm]]:
    """All three, below a short path: those of sockets have to be."""
    lacking = missing()
    if lacking:
        pytest.skip(f'no {", ".join(lacking)}; as root, tests/run.sh installs what these tests need')
    folder = Path(tempfile.mkdtemp(prefix='ufpnmr-services-'))
    folder.chmod(0o755)
    try:
        places = {name: folder / name for name in ('database', 'broker', 'slurm')}
        for place in places.values():
            place.mkdir()
        database, cluster = PostgreSQL(places['database']), Slurm(places['slurm'])
        broker = RabbitMQ(places['broker'], consumer_timeout='undefined')
        with contextlib.ExitStack() as stack:
            for service in (broker, database, cluster):
                stack.callback(service.stop)
                service.begin()
            for service in (broker, database, cluster):
                service.wait()
            yield database, broker, cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='session')
def laboratory(services, tmp_path_factory) -> Laboratory:
    return Laboratory.make(tmp_path_factory.mktemp('laboratory'), *services)


@pytest.fixture(scope='module')
def stopped_in_the_end(laboratory) -> Iterator[None]:
    yield
    laboratory.stop_daemon()


@pytest.fixture
def daemon(laboratory, stopped_in_the_end) -> Laboratory:
    """The laboratory with a daemon, which the tests of a file share."""
    laboratory.start_daemon()
    return laboratory
