"""Cores that this process may use: what the machine, the kernel and a scheduler leave to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Variables by which schedulers say how many cores a job has on this machine; of each scheduler the first that is set.
SCHEDULERS = (('SLURM_CPUS_PER_TASK', 'SLURM_CPUS_ON_NODE'), ('NCPUS',), ('NSLOTS',), ('LSB_DJOB_NUMPROC',))
CGROUPS = Path('/sys/fs/cgroup')


def available_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this process may use: the least of its affinity, the quota of its cgroup and what a scheduler gave."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    given = [next((environment[name] for name in names if name in environment), '') for names in SCHEDULERS]
    limits = [int(number) for number in given if number.isdigit() and int(number) > 0]
    return min([machine, *limits, *cgroup_quota()])


def cgroup_quota(root: Path = CGROUPS, membership: Path = Path('/proc/self/cgroup')) -> list[int]:
    """Whole cores, one at least, that the cgroups (version 2) of this process and those above them allow."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    inside = next((line.removeprefix('0::/') for line in lines if line.startswith('0::/')), None)
    if inside is None:
        return []
    quotas = []
    for folder in (root / inside, *(root / inside).parents):
        if not folder.is_relative_to(root):
            break
        try:
            quota, period = (folder / 'cpu.max').read_text().split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            quotas.append(max(1, int(quota) // int(period)))
    return quotas


def use_threads(wanted: int) -> int:
    """Let kernels run on ``wanted`` threads, or on as many as there are cores for; how many they are.

    Sums are shared out by ``wanted``, so fewer threads change no bit.
    """
    if wanted == 1:
        return 1
    import numba

    allowed: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    used = min(wanted, available_cores(), allowed)
    numba.set_num_threads(used)
    return used
