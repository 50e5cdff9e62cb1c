"""``ufpnmr`` with numba's simulator in place of a GPU; to be run with ``NUMBA_ENABLE_CUDASIM=1``."""

from gpu_stand_ins import SIMULATOR

from aiida_ufpnmr.engine.gpu import device, ensemble
from aiida_ufpnmr.engine.gpu.simulation import GpuReplicas
from aiida_ufpnmr.engine.main import main

if __name__ == '__main__':
    device.on_gpu = lambda simulations, *efg: GpuReplicas(simulations, SIMULATOR, 'simulator', *efg)
    ensemble.FIRST_NEAR, ensemble.MORE_NEAR = 4, 30  # room that is too little at first
    main()
