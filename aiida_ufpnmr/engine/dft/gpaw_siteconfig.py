# Configuration with which GPAW is compiled out of what is at hand: give the path of this file as GPAW_CONFIG to pip.
# A C compiler is all that it needs: GPAW has PBE of its own, and takes linear algebra and Fourier transforms from numpy
# and scipy. With OpenBLAS and FFTW (Debian: libopenblas-dev, libfftw3-dev), used where they are, a label takes a fifth
# less time. With MPI, looked for beside this Python and then on PATH, as mpiexec is when it runs, several processes
# share the k-points of a label.
import os
import shutil
import subprocess
import sys
import tempfile

import numpy


def can_link(program, *lines, libraries=()):
    """Test that a compiler makes a program of these lines with some libraries."""
    if program is None or shutil.which(program) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [program, '-x', 'c', '-', *(f'-l{name}' for name in libraries), '-o', f'{folder}/program']
        return subprocess.run(command, input='\n'.join(lines), text=True, capture_output=True).returncode == 0


mpi_compiler = shutil.which('mpicxx', path=os.path.dirname(sys.executable)) or shutil.which('mpicxx')
mpi = can_link(mpi_compiler, '#include <mpi.h>', 'int main() { return MPI_Finalize(); }')
# later versions of GPAW ask for C++
compiler = mpi_compiler if mpi else 'c++' if shutil.which('c++') else 'cc'
noblas = not can_link(compiler, 'double dnrm2_();', 'int main() { dnrm2_(); return 0; }', libraries=['openblas'])
fftw = can_link(compiler, '#include <fftw3.h>', 'int main() { fftw_cleanup(); return 0; }', libraries=['fftw3'])
libraries = ([] if noblas else ['openblas']) + (['fftw3'] if fftw else [])
nolibxc = True
# before those of Python, among which a system may have the headers of an older numpy
include_dirs = [numpy.get_include()]
