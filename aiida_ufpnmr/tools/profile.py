"""A profile of AiiDA with this computer, the codes and the daemon: made where missing, left as they are if not.

AiiDA is imported where it is needed only, since its mere import makes a folder in the user's home.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools import service_urls

if TYPE_CHECKING:
    from aiida.manage import Profile
    from aiida.manage.configuration.config import Config

#: Names of profiles and computers, which become those of files.
NAME = re.compile(r'\w[\w.-]*')
PROFILE, COMPUTER, CODE = 'ufpnmr', 'localhost', 'ufpnmr'
#: The same command, told which Python has GPAW.
GPAW_CODE = 'gpaw'


def load_profile(name: str | None) -> None:
    """Load a profile of AiiDA; :class:`InputError` if there is none, or none of that name."""
    at_home = 'AIIDA_PATH' not in os.environ and 'aiida' not in sys.modules
    if at_home and not (Path.home() / '.aiida').exists():  # the mere import of AiiDA would make it
        raise InputError('no AiiDA profile yet; make one with "aiida-ufpnmr setup", or set AIIDA_PATH to where it is')
    import aiida
    from aiida.common.exceptions import ConfigurationError
    from aiida.manage import get_manager

    if name is None and get_manager().get_profile() is not None:
        return
    try:
        aiida.load_profile(name)
    except ConfigurationError as error:
        raise InputError(f'AiiDA profile {name or ""}: {error}; make one with "aiida-ufpnmr setup"') from error


def loaded_profile() -> Profile:
    """The profile that is loaded."""
    from aiida.manage import get_manager

    profile = get_manager().get_profile()
    assert profile is not None  # as all commands that come here have loaded one
    return profile


def is_daemon_running(client) -> bool:
    """True where there is a daemon; AiiDA goes by a file, which a daemon that was killed leaves behind."""
    from aiida.engine.daemon.client import DaemonException, DaemonStalePidException

    if not client.is_daemon_running:
        return False
    with suppress(psutil.Error):
        if {'start-circus', client.profile.name} <= set(psutil.Process(client.get_daemon_pid()).cmdline()):
            return True
    try:  # a question, for which AiiDA imports far more than for all else
        client.get_status()
    except DaemonStalePidException:
        return False
    except DaemonException:  # too busy to answer
        pass
    return True


def get_or_create_profile(name: str | None, storage: str | None = None, broker: str | None = None) -> tuple[str, bool]:
    """Load a profile, or make it; its name, and True where it is new.

    Args:
        name: of the profile; the default one if not given.
        storage: URL of a PostgreSQL database, which is made where it is not there; SQLite if not given.
        broker: URL of a RabbitMQ server; the bundled broker if not given.

    Raises:
        InputError: a service that does not answer, or a profile of that name that uses others.
    """
    from aiida.manage import get_config

    config = get_config(create=True)
    name = name or config.default_profile_name or PROFILE
    new = name not in config.profile_names
    if new and not NAME.fullmatch(name):
        raise InputError(f'profile {name!r}: its name becomes that of files; give letters, digits, - and _ alone')
    if new:
        _create_profile(config, name, storage, broker)
    else:
        _compare_services(config.get_profile(name), storage, broker)
    load_profile(name)
    return name, new


def _create_profile(config: Config, name: str, storage: str | None, broker: str | None) -> None:
    """Make a profile; a database that was made for it goes again where that fails."""
    from aiida.manage.configuration import create_profile
    from aiida.plugins import BrokerFactory

    broker_config = service_urls.broker_of(broker) if broker else BrokerFactory('core.zeromq').get_default_config()
    database = service_urls.storage_of(storage) if storage else {}
    made = bool(storage) and service_urls.create_database(database)
    files = {'repository_uri': service_urls.files_of(config.dirpath, name)} if storage else {}
    try:
        create_profile(
            config,
            name=name,
            email='aiida@localhost',
            storage_backend='core.psql_dos' if storage else 'core.sqlite_dos',
            storage_config={**database, **files},
            broker_backend='core.rabbitmq' if broker else 'core.zeromq',
            broker_config=broker_config,
        )
    except Exception:
        if made:
            service_urls.drop_database(database)
        raise
    config.set_option('runner.poll.interval', 1, scope=name)
    if config.default_profile_name is None:
        config.set_default_profile(name)
    config.store()


def _compare_services(profile: Profile, storage: str | None, broker: str | None) -> None:
    """Refuse URLs of other services than the profile has; passwords are not compared."""
    remedy = 'leave the option out, or make another profile with --profile NAME'
    if storage is not None:
        wanted = service_urls.storage_of(storage)
        for key in ('database_hostname', 'database_port', 'database_name'):
            if profile.storage_config.get(key) != wanted[key]:
                raise InputError(f'--profile-storage: the profile {profile.name} has another storage; {remedy}')
    if broker is not None and profile.process_control_backend != 'core.rabbitmq':
        raise InputError(f'--broker: the profile {profile.name} has {profile.process_control_backend}; {remedy}')


def get_or_create_computer() -> bool:
    """Make sure that there is a configured computer for this machine; True where it is new."""
    from aiida.common.exceptions import NotExistent
    from aiida.manage import get_config
    from aiida.orm import Computer

    try:
        computer, new = Computer.collection.get(label=COMPUTER), False
    except NotExistent:
        workdir = Path(get_config().dirpath) / 'scratch' / loaded_profile().name
        computer = Computer(
            label=COMPUTER,
            hostname='localhost',
            description='This machine.',
            transport_type='core.local',
            scheduler_type='core.direct',
            workdir=str(workdir),
        ).store()
        computer.set_default_mpiprocs_per_machine(1)
        computer.set_minimum_job_poll_interval(1)
        new = True
    if not computer.is_configured:
        # commands have the environment of whoever runs the workflow; a login shell takes 0.2 s for each, and locks that
        # it holds for the user's own tools stay behind where it is killed with its daemon
        computer.configure(safe_interval=0, use_login_shell=False)
    return new


def get_or_create_code(
    executable: Path,
    label: str = CODE,
    description: str = 'Dynamic solid-state NMR, one sub-command a calculation.',
    prepend_text: str = '',
) -> bool:
    """Make sure that the code is there; True where it is new.

    Raises:
        InputError: there is a code of that name for another program, or one that is prepared in another way.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import Computer, InstalledCode, load_code

    try:
        code = load_code(f'{label}@{COMPUTER}')
    except NotExistent:
        InstalledCode(
            label=label,
            description=description,
            computer=Computer.collection.get(label=COMPUTER),
            filepath_executable=str(executable),
            prepend_text=prepend_text,
            with_mpi=False,
        ).store()
        return True
    for wanted, found in ((str(executable), str(code.filepath_executable)), (prepend_text, code.prepend_text)):
        if found != wanted:
            raise InputError(
                f'{label}@{COMPUTER}: runs {found}, not {wanted}; '
                f'rename it with "verdi code relabel {label}@{COMPUTER} NEW-LABEL" and run setup again'
            )
    return False


def get_or_create_gpaw_code(python: Path | None = None) -> tuple[str, bool]:
    """Make sure that there is a code for labels from GPAW; the version of GPAW, and True where the code is new.

    Args:
        python: the Python that has GPAW; else the first found, else GPAW is installed into this environment.

    Raises:
        InputError: there is no GPAW, and it cannot be installed; or there is a code of that name with another one.
    """
    from aiida_ufpnmr.engine.dft.gpaw_engine import PYTHON_VARIABLE, find_gpaw
    from aiida_ufpnmr.engine.dft.gpaw_install import find_or_install

    found = find_or_install()[0] if python is None else find_gpaw(python)
    new = get_or_create_code(
        ufpnmr_executable(),
        GPAW_CODE,
        description='Labels from GPAW: energy, forces, stress and EFG tensors.',
        prepend_text=f'export {PYTHON_VARIABLE}={shlex.quote(str(found.python))}',
    )
    return found.gpaw, new


def ufpnmr_executable() -> Path:
    """The command ``ufpnmr`` that belongs to this Python."""
    executable = Path(sys.executable).parent / 'ufpnmr'
    if not executable.is_file():
        raise InputError(f'{executable}: no such command; install aiida-ufpnmr into this environment')
    return executable
