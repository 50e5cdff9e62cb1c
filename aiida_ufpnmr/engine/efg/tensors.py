"""Electric-field-gradient tensors: components, principal frames, couplings, frequencies, orientations.

Tensors are symmetric and traceless, (..., 3, 3) in atomic units, V_ij = ∂²V/∂x_i∂x_j. Every function is vectorised
over the leading axes.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope, get_isotope

#: e · mb · a.u. / h in kHz: C_Q[kHz] = 234.9647 · Q[mb] · V_zz[a.u.].
KHZ_PER_MB_AU = 234.9647

#: Below this (a.u.) a tensor has no direction worth comparing: 1 kHz in 7Li, a tenth of the experimental sensitivity.
TINY = 1e-4

_R2, _R6 = np.sqrt(2.0), np.sqrt(6.0)
# Rows: m = -2 .. 2, in the order and phase of the real spherical harmonics xy, yz, 3z²-r², xz, x²-y².
# Orthonormal as vectors of nine, so that V1:V2 is the dot product of the components.
_TO_IRREPS = (
    np.array(
        [
            [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
            [[-1 / np.sqrt(3), 0, 0], [0, -1 / np.sqrt(3), 0], [0, 0, 2 / np.sqrt(3)]],
            [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
            [[1, 0, 0], [0, -1, 0], [0, 0, 0]],
        ]
    )
    / _R2
)


def to_irreps(tensors: np.ndarray) -> np.ndarray:
    """The five real λ = 2 components, (..., 5), in the order m = -2 .. 2 (xy, yz, 3z²-r², xz, x²-y²).

    They are orthonormal: V1:V2 is the dot product of the components. Trace and antisymmetric part are left out.
    """
    return np.einsum('mij,...ij->...m', _TO_IRREPS, np.asarray(tensors, float))


def from_irreps(components: np.ndarray) -> np.ndarray:
    """The Cartesian tensors, (..., 3, 3), of five λ = 2 components; inverse of :func:`to_irreps`."""
    return np.einsum('mij,...m->...ij', _TO_IRREPS, np.asarray(components, float))


def principal_frame(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal values and axes with |V_zz| ≥ |V_yy| ≥ |V_xx|.

    Returns:
        values (..., 3): V_xx, V_yy, V_zz.
        axes (..., 3, 3): columns are the unit vectors x, y, z of a right-handed frame. Their signs carry no meaning.
        Both are NaN where a tensor is.
    """
    tensors, missing = _without_missing(tensors)
    values, axes = np.linalg.eigh(tensors)
    order = np.argsort(np.abs(values), axis=-1, kind='stable')
    values = np.take_along_axis(values, order, -1)
    axes = np.take_along_axis(axes, order[..., None, :], -1)
    axes[..., :, 0] *= np.sign(np.linalg.det(axes))[..., None]
    values[missing], axes[missing] = np.nan, np.nan
    return values, axes


def principal_values(tensors: np.ndarray) -> np.ndarray:
    """V_xx, V_yy, V_zz, (..., 3), with |V_zz| ≥ |V_yy| ≥ |V_xx|; NaN where a tensor is."""
    tensors, missing = _without_missing(tensors)
    values = np.linalg.eigvalsh(tensors)
    values = np.take_along_axis(values, np.argsort(np.abs(values), axis=-1, kind='stable'), -1)
    values[missing] = np.nan
    return values


def _without_missing(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tensors with zeros in the place of those that hold a NaN, as atoms without a label do; and a mask of these."""
    tensors = np.asarray(tensors, float)
    missing = np.isnan(tensors).any(axis=(-2, -1))
    return np.where(missing[..., None, None], 0.0, tensors), missing


def moment_of(isotope: str | Isotope) -> float:
    """Quadrupole moment in millibarn of an isotope or of its name."""
    return (isotope if isinstance(isotope, Isotope) else get_isotope(isotope)).moment_mb


def quadrupolar_coupling(tensors: np.ndarray, isotope: str | Isotope = '7Li', signed: bool = True) -> np.ndarray:
    """Quadrupolar coupling constants C_Q = e Q V_zz / h in kHz, (...,).

    Args:
        tensors: (..., 3, 3) in a.u.
        isotope: name, element symbol, or an :class:`Isotope` with a moment of your own.
        signed: with its sign. The sign jumps where η → 1, so averages are averages of |C_Q| (``signed=False``).
    """
    coupling = KHZ_PER_MB_AU * moment_of(isotope) * principal_values(tensors)[..., 2]
    return coupling if signed else np.abs(coupling)


def asymmetry(tensors: np.ndarray) -> np.ndarray:
    """Asymmetry parameters η = (V_xx - V_yy)/V_zz in [0, 1], (...,); NaN where the tensor is zero."""
    x, y, z = np.moveaxis(principal_values(tensors), -1, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(z == 0, np.nan, (x - y) / z)


def quadrupolar_frequency(tensors: np.ndarray, field=(0.0, 0.0, 1.0), isotope: str | Isotope = '7Li') -> np.ndarray:
    """Quadrupolar frequencies ω_Q = (eQ/h) b·V·b in kHz, (...,), b the unit vector along ``field``.

    This is ½ C_Q (3 cos²θ − 1 + η sin²θ cos 2φ) with the ordering of :func:`principal_frame`, the ω_Q of Harper et al.
    (2024), eqn (2), who write a minus sign because their X and Y are swapped. The satellites lie at
    ± 3/(2I(2I − 1)) ω_Q, which is ± ½ ω_Q for I = 3/2.

    Raises:
        ValueError: ``field`` has no direction.
    """
    b = np.asarray(field, float)
    if b.shape != (3,) or not np.linalg.norm(b) > 0:
        raise ValueError(f'field must be a vector of three numbers that has a direction, not {field}')
    b = b / np.linalg.norm(b)
    return KHZ_PER_MB_AU * moment_of(isotope) * np.einsum('i,...ij,j->...', b, np.asarray(tensors, float), b)


def quaternions(axes: np.ndarray) -> np.ndarray:
    """Unit quaternions (w, x, y, z), (..., 4), of rotation matrices (..., 3, 3).

    Shepperd's method (J. Guidance Control 1, 223 (1978)): the largest of the four components is found first, so that
    nothing is divided by a small number.
    """
    r = np.asarray(axes, float)
    trace = np.trace(r, axis1=-2, axis2=-1)
    squares = np.stack([trace] + [r[..., i, i] for i in range(3)], axis=-1)
    # four times the outer product of the quaternion with itself; each row is the quaternion times one component
    outer = np.empty((*r.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i + 1, i + 1] = 1 + 2 * r[..., i, i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = r[..., k, j] - r[..., j, k]
        outer[..., j + 1, i + 1] = outer[..., i + 1, j + 1] = r[..., i, j] + r[..., j, i]
    row = np.argmax(squares, axis=-1)
    q = np.take_along_axis(outer, row[..., None, None], -2)[..., 0, :]
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


#: Axes of the three turns, each about an axis of the body that the turn before has moved.
EULER_AXES = {'zyz': ('z', 'y', 'z'), 'zxz': ('z', 'x', 'z')}


def euler_angles(tensors: np.ndarray, convention: str = 'zyz', passive: bool = False) -> np.ndarray:
    """Euler angles (α, β, γ) of the principal frames in degrees, (..., 3).

    Active: R = R_z(α) R_y(β) R_z(γ) (``zyz``; R_x(β) for ``zxz``) turns the axes of the laboratory onto x, y, z of
    :func:`principal_frame`. Passive angles are those of the inverse turn. Of the four sets that describe the same
    tensor the one with 0 ≤ β ≤ 90°, 0 ≤ γ < 180° (0 ≤ α < 180° if passive) is given, all others up to 360°.

    Raises:
        ValueError: unknown convention.
    """
    if convention not in EULER_AXES:
        raise ValueError(f'unknown convention {convention!r}; known are {", ".join(EULER_AXES)}')
    axes = principal_frame(tensors)[1]
    # the third column is z of the frame, the third row what turns last
    z, row = axes[..., :, 2], axes[..., 2, :]
    if convention == 'zyz':
        alpha, gamma = np.arctan2(z[..., 1], z[..., 0]), np.arctan2(row[..., 1], -row[..., 0])
    else:
        alpha, gamma = np.arctan2(z[..., 0], -z[..., 1]), np.arctan2(row[..., 0], row[..., 1])
    beta = np.arccos(np.clip(z[..., 2], -1, 1))
    # z along that of the laboratory, up or down: only the sum of the other two angles is known
    upright, side = np.sin(beta) < 1e-9, np.sign(z[..., 2])
    alpha = np.where(upright, np.arctan2(side * axes[..., 1, 0], side * axes[..., 0, 0]), alpha)
    beta, gamma = np.where(upright, 0.0, beta), np.where(upright, 0.0, gamma)
    turned = beta > np.pi / 2  # a half turn about y of the frame
    half = np.pi if convention == 'zyz' else 0.0
    alpha = np.where(turned, alpha + np.pi, alpha)
    gamma = np.where(turned, half - gamma, gamma)
    angles = np.stack([alpha, np.where(turned, np.pi - beta, beta), gamma], -1)
    if passive:
        angles = np.stack([np.pi - angles[..., 2], angles[..., 1], np.pi - angles[..., 0]], -1)
    degrees = np.degrees(angles) % 360
    degrees[..., 1] = np.degrees(angles[..., 1])
    free = 0 if passive else 2  # a half turn about z of the frame changes nothing
    degrees[..., free] %= 180
    return degrees


def orientation_overlap(tensors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest |q·q'| between the principal frames of two sets of tensors, (...,), 1 for equal orientation.

    Axes have no sign, so a frame stands for four proper rotations: itself and its half turns about x, y and z. A half
    turn permutes the components of the quaternion (up to sign), so the four products need no new quaternions.
    """
    p = quaternions(principal_frame(tensors)[1])
    w, x, y, z = np.moveaxis(quaternions(principal_frame(others)[1]), -1, 0)
    turned = np.stack([np.stack(q, -1) for q in ((w, x, y, z), (-x, w, z, -y), (-y, -z, w, x), (-z, y, -x, w))], -2)
    return np.abs(np.einsum('...c,...kc->...k', p, turned)).max(-1).clip(max=1.0)


def well_defined_frame(tensors: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """Mask of tensors with a unique principal frame, (...,) booleans.

    A tensor below ``TINY`` has none, nor one within ``margin`` of η = 1, where y and z swap, or of η = 0, where x and
    y turn freely.
    """
    eta = asymmetry(tensors)
    with np.errstate(invalid='ignore'):
        return (np.abs(principal_values(tensors)[..., 2]) > TINY) & (eta > margin) & (eta < 1 - margin)
