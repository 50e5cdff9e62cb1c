"""A cluster as a computer and codes of the loaded profile: made where missing, left as they are if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiida_ufpnmr.calculations.resources import PROPERTY, node_of
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.cluster import Cluster
from aiida_ufpnmr.tools.cluster_trial import try_cluster
from aiida_ufpnmr.tools.connections import connected

if TYPE_CHECKING:
    from aiida.orm import Computer, InstalledCode


def set_up_cluster(cluster: Cluster) -> Iterator[tuple[str, str, str]]:
    """Try what is missing, then store it; kind, name and outcome of each step.

    Nothing is stored before all trials went well, so a failure leaves the profile as it was.

    Raises:
        InputError: a trial that failed, or what is there differs from the description; with the remedy.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import Computer, load_code

    settings = cluster.settings
    label = settings.label
    wanted = computer_of(cluster)
    try:
        computer, new = Computer.collection.get(label=label), False
        _compare(f'{label}', _state_of_computer(wanted), _state_of_computer(computer), 'computer relabel')
    except NotExistent:
        computer, new = wanted, True
    missing = []
    for name in cluster.codes:
        try:
            code = load_code(f'{name}@{label}')
        except NotExistent:
            missing.append(name)
            continue
        full, described = f'{name}@{label}', code_of(cluster, name, computer)
        _compare(full, _state_of_code(described), _state_of_code(code), 'code relabel')
    if new or missing:
        for what, outcome in try_cluster(cluster, wanted, missing):
            yield 'trial', what, outcome
    if new:
        computer.store()
    if not computer.is_configured:
        computer.configure(**settings.connection)
    elif not new:
        found = {name: value for name, value in computer.get_configuration().items() if name in settings.connection}
        _compare(label, settings.connection, found, 'computer relabel')
    yield 'computer', label, 'made' if new else 'there'
    for name in cluster.codes:
        if name in missing:
            code_of(cluster, name, computer).store()
        yield 'code', f'{name}@{label}', 'made' if name in missing else 'there'


def computer_of(cluster: Cluster) -> Computer:
    """The computer that the description asks for, not stored."""
    from aiida.orm import Computer

    settings = cluster.settings
    computer = Computer(
        label=settings.label,
        hostname=settings.host,
        description='Set up for dynamic solid-state NMR.',
        transport_type=settings.transport,
        scheduler_type=settings.scheduler,
        workdir=settings.work_directory,
    )
    computer.set_shebang(settings.shebang)
    computer.set_prepend_text(settings.head)
    computer.set_append_text(settings.append)
    computer.set_mpirun_command(settings.mpirun.split())
    computer.set_minimum_job_poll_interval(settings.poll_interval_s)
    if computer.get_scheduler().job_resource_class.accepts_default_mpiprocs_per_machine():
        computer.set_default_mpiprocs_per_machine(1)
    computer.set_property(PROPERTY, settings.node)
    return computer


def code_of(cluster: Cluster, name: str, computer: Computer) -> InstalledCode:
    """The code of a program that the description asks for, not stored."""
    from aiida.orm import ContainerizedCode, InstalledCode

    code = cluster.codes[name]
    shared: dict[str, Any] = {
        'label': name,
        'computer': computer,
        'filepath_executable': code.path,
        'prepend_text': cluster.prepend(name),
        'with_mpi': cluster.with_mpi(name),
    }
    if code.image is None:
        return InstalledCode(**shared)
    # the engine has to see the directory by its whole name
    engine = code.engine_command(_work_directory(computer, cluster))
    return ContainerizedCode(**shared, image_name=code.image, engine_command=engine)


def _work_directory(computer: Computer, cluster: Cluster) -> str:
    """The work directory, with the name of the user where it holds that."""
    directory = cluster.settings.work_directory
    if '{username}' not in directory:
        return directory
    transport = computer.get_transport_class()(machine=cluster.settings.host, **cluster.settings.connection)
    with connected(transport):
        return directory.format(username=transport.whoami())


def _state_of_computer(computer: Computer) -> dict[str, Any]:
    """What decides about jobs, by the keys of the description."""
    return {
        'host': computer.hostname,
        'transport': computer.transport_type,
        'scheduler': computer.scheduler_type,
        'work_directory': computer.get_workdir(),
        'shebang': computer.get_shebang(),
        'prepend': computer.get_prepend_text(),
        'append': computer.get_append_text(),
        'mpirun': ' '.join(computer.get_mpirun_command()),
        'poll_interval_s': computer.get_minimum_job_poll_interval(),
        **{f'{name} of a node': value for name, value in node_of(computer).items()},
    }


def _state_of_code(code: Any) -> dict[str, Any]:
    return {
        'path': str(code.filepath_executable),
        'prepend': code.prepend_text,
        'mpi': code.with_mpi,
        'image': getattr(code, 'image_name', None),
        'engine': getattr(code, 'engine_command', None),
    }


def _compare(name: str, wanted: dict[str, Any], found: dict[str, Any], command: str) -> None:
    """Refuse to go on where something differs, since what has run there should stay true."""
    for key in {**wanted, **found}:
        if wanted.get(key) != found.get(key):
            raise InputError(
                f'{name}: {key} is {found.get(key)!r} here, and {wanted.get(key)!r} in the file; correct the '
                f'file, or rename the old one with "verdi {command} {name} OLD-NAME" and run setup again'
            )
