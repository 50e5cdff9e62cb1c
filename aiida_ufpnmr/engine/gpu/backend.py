"""What an ensemble of replicas begins with: a device, or what stands in for one, and the replicas as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aiida_ufpnmr.engine.gpu.efg_kernels import EfgKernels
from aiida_ufpnmr.engine.gpu.efg_tables import EfgShape
from aiida_ufpnmr.engine.gpu.kernels import Kernels
from aiida_ufpnmr.engine.gpu.prediction import Made
from aiida_ufpnmr.engine.gpu.tables import Shape
from aiida_ufpnmr.engine.md.guards import Limits
from aiida_ufpnmr.engine.md.integrators import Bath
from aiida_ufpnmr.engine.md.system import System


class Backend(NamedTuple):
    """A device, or what stands in for one."""

    kernels: Callable[[Shape, int], Kernels]  # kernels for sizes of a potential and a number of neighbours
    put: Callable[[np.ndarray], Any]  # copy of an array on the device
    get: Callable[..., np.ndarray]  # and back
    efg_kernels: Callable[[EfgShape], EfgKernels]  # kernels for sizes of an EFG model


class Start(NamedTuple):
    """A replica as it begins; all of an ensemble have the same atoms, time step and relaxation time."""

    system: System
    bath: Bath
    limits: Limits
    seed: int
    step: int


@dataclass
class Snapshot:
    """All replicas at the end of a call, as arrays of :class:`~aiida_ufpnmr.engine.gpu.arrays.State`."""

    position: np.ndarray
    velocity: np.ndarray
    force: np.ndarray
    reference: np.ndarray
    heat: np.ndarray
    step: np.ndarray
    trouble: np.ndarray
    energy: np.ndarray
    virial: np.ndarray
    made: list[Made] | None  # tensors of each replica, where they are predicted
