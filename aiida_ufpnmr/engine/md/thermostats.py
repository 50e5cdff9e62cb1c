"""Constant temperature: compiled steps that change velocities alone and leave the canonical distribution as it is.

Thermal energies are k_B T in eV. What a thermostat takes out of the atoms is added up by its caller.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.md.conditions import THERMOSTATS
from aiida_ufpnmr.engine.md.system import ACCELERATION, remove_drift
from aiida_ufpnmr.engine.simd import MATH

NONE, RESCALING, LANGEVIN, NOSE_HOOVER = range(4)
#: By the names that users give, and none.
NUMBERS = dict(zip((None, *THERMOSTATS), (NONE, RESCALING, LANGEVIN, NOSE_HOOVER), strict=True))
#: Thermostats in a Nosé–Hoover chain.
CHAIN_LENGTH = 3
#: Suzuki–Yoshida weights of fourth order.
_YOSHIDA = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
_WEIGHTS = (_YOSHIDA, 1.0 - 2.0 * _YOSHIDA, _YOSHIDA)


@njit()
def rescaling_factor(kinetic, target, degrees, memory, rng):
    """Factor of the velocities in a step of stochastic velocity rescaling.

    Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007), eqn (A7). It samples the canonical ensemble exactly,
    keeps the total momentum, and disturbs single-particle dynamics least of all thermostats.

    Args:
        kinetic: kinetic energy, eV.
        target: its canonical mean, eV.
        degrees: degrees of freedom.
        memory: exp(−timestep / relaxation time).
        rng: source of random numbers.
    """
    first = rng.standard_normal()
    others = 2.0 * rng.standard_gamma(0.5 * (degrees - 1))
    ratio = target / (degrees * kinetic)
    square = (
        memory
        + (1.0 - memory) * ratio * (first * first + others)
        + 2.0 * first * np.sqrt(memory * (1.0 - memory) * ratio)
    )
    return np.sqrt(max(square, 0.0))


@njit(fastmath=MATH, forceinline=True)
def friction_and_noise(velocities, masses, thermal, memory, rng):
    """The exact Ornstein–Uhlenbeck part of Langevin dynamics, the O of BAOAB.

    Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34 (2013). Friction and noise act on motion relative to the
    centre of mass only, so 3 n − 3 degrees of freedom are canonical, as with the other thermostats.

    Args:
        thermal: k_B T, eV.
        memory: exp(−friction · timestep).
    """
    for i in range(len(masses)):
        width = np.sqrt((1.0 - memory * memory) * thermal * ACCELERATION / masses[i])
        for a in range(3):
            velocities[i, a] = memory * velocities[i, a] + width * rng.standard_normal()
    if len(masses) > 1:
        remove_drift(velocities, masses)


@njit()
def chain_factor(chain, kinetic, thermal, degrees, relaxation, interval):
    """Factor of the velocities from a Nosé–Hoover chain acting for ``interval`` (fs); ``chain`` changes in place.

    Martyna, Tuckerman, Tobias & Klein, Mol. Phys. 87, 1117 (1996), eqns (29) to (31), with masses of the thermostats
    Q₁ = degrees · k_B T · relaxation² and Q_k = k_B T · relaxation², by which all of their equations are divided here.
    """
    last = len(chain) - 1
    factor = 1.0
    for weight in _WEIGHTS:
        step = weight * interval
        for k in range(last, -1, -1):
            _push_link(chain, k, kinetic * factor * factor, thermal, degrees, relaxation, step)
        factor *= np.exp(-step * chain[0])
        for k in range(last + 1):
            _push_link(chain, k, kinetic * factor * factor, thermal, degrees, relaxation, step)
    return factor


@njit(inline='always')
def _push_link(chain, k, kinetic, thermal, degrees, relaxation, step):
    """Half a step of one thermostat of the chain: driven by the one before, slowed by the one after."""
    if k == 0:
        push = 2.0 * kinetic / (degrees * thermal) - 1.0
    else:
        push = (degrees if k == 1 else 1.0) * (chain[k - 1] * relaxation) ** 2 - 1.0
    slowing = np.exp(-0.25 * step * chain[k + 1]) if k + 1 < len(chain) else 1.0
    chain[k] = (chain[k] * slowing + 0.5 * step * push / (relaxation * relaxation)) * slowing
