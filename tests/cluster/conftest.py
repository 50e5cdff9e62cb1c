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
from services import PostgreSQL, RabbitMQ, Service, Slurm, missing

#: Runs of a test with one kind of fault; UFPNMR_CLUSTER_RUNS sets another number.
NUMBER_OF_RUNS = int(os.environ.get('UFPNMR_CLUSTER_RUNS', '8'))


@pytest.fixture(scope='session')
def number() -> int:
    return NUMBER_OF_RUNS


@contextlib.contextmanager
def running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.stop()


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
        with (
            running(PostgreSQL(places['database'])) as database,
            running(RabbitMQ(places['broker'], consumer_timeout='undefined')) as broker,
            running(Slurm(places['slurm'])) as cluster,
        ):
            yield database, broker, cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='session')
def laboratory(services, tmp_path_factory) -> Laboratory:
    return Laboratory.make(tmp_path_factory.mktemp('laboratory'), *services)


@pytest.fixture
def daemon(laboratory) -> Iterator[Laboratory]:
    """The laboratory with a daemon that lives as long as the test."""
    laboratory.start_daemon()
    try:
        yield laboratory
    finally:
        laboratory.stop_daemon()
