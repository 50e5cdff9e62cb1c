"""A look at a profile for what failures leave behind, and the repair of it."""

from __future__ import annotations

from aiida_ufpnmr.tools import daemon, services
from aiida_ufpnmr.tools.doctor import damage, jobs, places, processes, servers
from aiida_ufpnmr.tools.doctor.finding import Finding


def examine(least_free_gb: float = places.LEAST_FREE_GB) -> list[Finding]:
    """Everything that is found wrong; where a service does not answer, only that."""
    silent = servers.silent_services()
    if silent:
        return silent
    return [
        *servers.broker_version(),
        *servers.daemon_state(),
        *processes.stranded_processes(),
        *processes.paused_processes(),
        *damage.damaged(),
        *jobs.orphaned_jobs(),
        *places.broken_codes(),
        *places.full_disks(least_free_gb),
    ]


def repair(findings: list[Finding]) -> None:
    """Do what can be done about findings without loss.

    Where the daemon has to be down for it, it is stopped and seen to have stopped; then processes that nothing waits
    for are ended, states are corrected, the queue is mended, and the daemon starts with as many workers as it had,
    unless it was paused. Jobs that no process waits for are cancelled.

    Raises:
        InputError: a service does not answer, or something else still works on the profile.
    """
    services.require()
    if any(finding.needs_stop for finding in findings):
        was_paused = daemon.paused_workers() is not None
        daemon.pause()
        processes.end_abandoned()
        processes.correct_states()
        _cancel_orphans()
        if not was_paused:
            daemon.resume()
    else:
        _cancel_orphans()


def _cancel_orphans() -> None:
    for finding in jobs.orphaned_jobs():
        jobs.cancel(finding)
