# How GPAW is compiled where nothing but a C compiler is at hand: give the path of this file as GPAW_CONFIG to pip.
# GPAW has PBE of its own and takes linear algebra from numpy and scipy; no slower than with libxc and OpenBLAS here.
import numpy

mpi = False
compiler = 'cc'
libraries = []
noblas = True
nolibxc = True
# before those of Python, among which a system may have the headers of an older numpy
include_dirs = [numpy.get_include()]
