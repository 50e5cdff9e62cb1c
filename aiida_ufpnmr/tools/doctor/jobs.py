"""Findings about jobs in a scheduler that no process waits for."""

from __future__ import annotations

from pathlib import PurePosixPath
from uuid import UUID

from aiida.orm import CalcJobNode, Computer, QueryBuilder, User

from aiida_ufpnmr.tools import daemon
from aiida_ufpnmr.tools.connections import cancel_job, connected
from aiida_ufpnmr.tools.doctor.finding import REPAIR, Finding

#: For each scheduler a command that prints numbers and working directories of the user's jobs that wait or run.
LISTINGS = {'core.slurm': 'squeue --noheader --states=PENDING,RUNNING,SUSPENDED --user="$(id -un)" --format="%i|%Z"'}


def orphaned_jobs() -> list[Finding]:
    """Jobs in working directories of this profile whose process has ended, or waits for another job."""
    return [finding for computer in used_computers() for finding in _orphans_of(computer)]


def used_computers() -> list[Computer]:
    """The configured computers on which calculations of this profile ran or shall run."""
    query = QueryBuilder().append(Computer, project='*', tag='computer')
    query.append(CalcJobNode, with_computer='computer')
    user = User.collection.get_default()
    return [c for c in query.distinct().all(flat=True) if c.is_user_configured(user) and c.is_user_enabled(user)]


def _orphans_of(computer: Computer) -> list[Finding]:
    command = LISTINGS.get(computer.scheduler_type)
    if command is None:
        return []
    try:
        with connected(computer.get_transport()) as transport:
            status, said, errors = transport.exec_command_wait(command)
    except Exception as error:  # transports raise whatever their libraries do
        return [_unreachable(computer, error)]
    if status:
        return [_unreachable(computer, errors or said)]
    # while workers live, one may be about to write down the number of a job that it has handed over
    known = {None} if daemon.workers() else set()
    found = []
    for line in said.splitlines():
        number, _, folder = line.strip().partition('|')
        node = _owner(computer, folder)
        if node is None or not (node.is_terminated or node.get_job_id() not in known | {number}):
            continue
        why = 'has ended' if node.is_terminated else f'waits for {node.get_job_id() or "a job that is still to come"}'
        message = f'{node.process_label} #{node.pk}, whose job it is, {why}'
        job = (computer.pk or 0, number)
        found.append(
            Finding('orphaned-job', f'job {number} on {computer.label}', message, REPAIR, (node.pk or 0,), job=job)
        )
    return found


def _unreachable(computer: Computer, error: object) -> Finding:
    reason = ' '.join(str(error).split())[:160]
    return Finding(
        'computer-silent', computer.label, f'no answer from it: {reason}', f'see "verdi computer test {computer.label}"'
    )


def _owner(computer: Computer, folder: str) -> CalcJobNode | None:
    """The calculation of this profile that works in a folder: its UUID is the end of the path."""
    try:
        uuid = str(UUID(''.join(PurePosixPath(folder).parts[-3:])))
    except ValueError:  # a job of something else
        return None
    filters = {'uuid': uuid, 'attributes.remote_workdir': folder}
    query = QueryBuilder().append(Computer, filters={'id': computer.pk}, tag='computer')
    found = query.append(CalcJobNode, with_computer='computer', filters=filters).first()
    return found[0] if found else None


def cancel(finding: Finding) -> None:
    """Take a job out of its scheduler."""
    if finding.job is None:
        return
    pk, number = finding.job
    cancel_job(Computer.collection.get(id=pk), number)
