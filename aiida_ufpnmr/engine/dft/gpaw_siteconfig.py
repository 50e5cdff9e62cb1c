# How GPAW is compiled with what is at hand: give the path of this file as GPAW_CONFIG to pip.
# A C compiler is all that it needs: GPAW has PBE of its own, and takes linear algebra and Fourier transforms from numpy and scipy.
# With OpenBLAS and FFTW (Debian: libopenblas-dev, libfftw3-dev), used where they are, a label takes a fifth less time.
import shutil
import subprocess
import tempfile

import numpy


def can_link(*lines, library):
    """Whether a program of these lines compiles with a library."""
    if shutil.which(compiler) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, '-x', 'c', '-', f'-l{library}', '-o', f'{folder}/program']
        return subprocess.run(command, input='\n'.join(lines), text=True, capture_output=True).returncode == 0


mpi = False
# later versions of GPAW ask for C++
compiler = 'c++' if shutil.which('c++') else 'cc'
noblas = not can_link('double dnrm2_();', 'int main() { dnrm2_(); return 0; }', library='openblas')
fftw = can_link('#include <fftw3.h>', 'int main() { fftw_cleanup(); return 0; }', library='fftw3')
libraries = ([] if noblas else ['openblas']) + (['fftw3'] if fftw else [])
nolibxc = True
# before those of Python, among which a system may have the headers of an older numpy
include_dirs = [numpy.get_include()]
