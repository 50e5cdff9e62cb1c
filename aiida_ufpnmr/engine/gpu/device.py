"""The GPU of this machine, or why there is none that can be used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import cuda

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.gpu.backend import Backend
from aiida_ufpnmr.engine.gpu.efg_kernels import gpu_efg_kernels
from aiida_ufpnmr.engine.gpu.kernels import gpu_kernels
from aiida_ufpnmr.engine.gpu.simulation import GpuReplicas, GpuSimulation
from aiida_ufpnmr.engine.md.recording import EfgOutput


def check_gpu() -> None:
    """Refuse to go on without a GPU.

    Raises:
        InputError: there is none, or the software for it is missing.
    """
    if not cuda.is_available():
        error = cuda.cuda_error()
        lines = [line for line in str(error or '').splitlines() if line and not line.startswith('Error at driver init')]
        reason = lines[0].rstrip('.') if lines else 'none is found'
        raise InputError(
            f'no GPU can be used here ({reason}); it needs an NVIDIA driver and pip install "aiida-ufpnmr[gpu]"; or '
            'leave out --device gpu'
        )


def on_gpu(simulations: Sequence[GpuSimulation], efg: EfgOutput | None = None, efg_every: int = 1) -> GpuReplicas:
    """The replicas on the GPU of this machine; errors as in :func:`check_gpu`, and those of the replicas.

    Args:
        efg: EFG tensors that the runs shall record.
        efg_every: steps between them.
    """
    check_gpu()
    name = cuda.get_current_device().name
    return GpuReplicas(
        simulations,
        Backend(
            kernels=gpu_kernels,
            put=lambda array: cuda.to_device(np.ascontiguousarray(array)),
            get=lambda array: array.copy_to_host(),
            efg_kernels=gpu_efg_kernels,
        ),
        name.decode() if isinstance(name, bytes) else str(name),
        efg,
        efg_every,
    )
