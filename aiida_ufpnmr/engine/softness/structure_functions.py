"""Structure functions of ions: numbers that say what lies around an ion, whatever its orientation.

Radial ones count the neighbours of one element in soft shells, G(μ) = Σ_j exp(−(r_j − μ)²/2σ²) (Schoenholz et al.,
Nature Phys. 12, 469 (2016)). Angular ones are sums over pairs of neighbours of two elements,
Ψ(ξ, λ, ζ) = Σ_j<k exp(−(r_j² + r_k² + r_jk²)/ξ²) (1 + λ cos θ)^ζ f(r_j) f(r_k) (Behler and Parrinello, Phys. Rev. Lett.
98, 146401 (2007), as Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015) take them) with the cut-off function
f(r) = (1 + cos(πr/r_c))/2. Every image of a neighbour counts, so that cells may be narrower than the cut-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import complete_cell, packed_atom, packed_neighbours, set_vector
from aiida_ufpnmr.engine.settings import Settings, numbers, setting
from aiida_ufpnmr.engine.softness.rearrangements import elements

RADIAL, ANGULAR, EFG = 'radial', 'angular', 'efg'
#: Neighbours are taken up to this many widths beyond the last shell, where they count 10⁻⁸.
REACH = 6.0


def feature_sets(value: str) -> str:
    """Names of sets of features with commas between, each once; :class:`ValueError` for one that is not known."""
    names = str(value).replace(' ', '').split(',')
    for name in names:
        if name not in (RADIAL, ANGULAR, EFG) or names.count(name) > 1:
            raise ValueError(f'{value!r}: give {RADIAL}, {ANGULAR} or {EFG}, each once, with commas between')
    return ','.join(names)


@dataclass(frozen=True)
class StructureSettings(Settings):
    """What is said about the surroundings of an ion."""

    features: str = setting(
        RADIAL,
        'Sets of features: radial and angular structure functions, and efg, the size of C_Q and η of the ion, where '
        'the trajectory holds EFG tensors.',
        parse=feature_sets,
        metavar='SET,...',
    )
    partners: str = setting(
        'all', 'Elements whose atoms count, such as Li for the ions alone; or "all".', parse=elements, metavar='X,...'
    )
    average_ps: float = setting(
        1.0,
        'Average positions, and EFG tensors, over this time in ps up to a frame; 0 takes them as they are.',
        least=0,
    )
    first_shell_angstrom: float = setting(1.5, 'Middle μ of the first radial shell in Å.', least=0)
    last_shell_angstrom: float = setting(8.0, 'Middle of the last one in Å.', above=0)
    shell_step_angstrom: float = setting(0.25, 'Distance between the middles of shells in Å.', above=0)
    shell_width_angstrom: float = setting(0.25, 'Standard deviation σ of a shell in Å.', above=0)
    angular_cutoff_angstrom: float = setting(5.0, 'Cut-off r_c of angular functions in Å.', above=0)
    angular_xi_angstrom: tuple[float, ...] = setting(
        (4.0, 6.0), 'Lengths ξ of angular functions in Å.', above=0, parse=numbers, metavar='Å,...'
    )
    angular_lambda: tuple[float, ...] = setting(
        (-1.0, 1.0), 'Signs λ of the cosine, -1 or 1.', least=-1, most=1, parse=numbers, metavar='λ,...'
    )
    angular_zeta: tuple[float, ...] = setting(
        (1.0, 2.0, 4.0), 'Powers ζ, the larger the narrower in angle.', above=0, parse=numbers, metavar='ζ,...'
    )

    def __post_init__(self):
        super().__post_init__()
        if self.last_shell_angstrom < self.first_shell_angstrom:
            raise InputError('last_shell_angstrom is below first_shell_angstrom')

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets of features."""
        return tuple(self.features.split(','))

    @property
    def shells_angstrom(self) -> np.ndarray:
        """(n_shells,) middles of the radial shells."""
        last, step = self.last_shell_angstrom, self.shell_step_angstrom
        return self.first_shell_angstrom + step * np.arange(int((last - self.first_shell_angstrom) / step + 1e-6) + 1)

    @property
    def angles(self) -> list[tuple[float, float, float]]:
        """ξ, λ and ζ of each angular function of a pair of elements."""
        return list(product(self.angular_xi_angstrom, self.angular_lambda, self.angular_zeta))


@dataclass(frozen=True)
class StructureFunctions:
    """Radial and angular structure functions of ions.

    Attributes:
        partners: (n_elements,) chemical symbols of the neighbours that count.
        settings: which functions.
    """

    partners: tuple[str, ...]
    settings: StructureSettings

    @property
    def names(self) -> tuple[str, ...]:
        """(n_features,) names of the functions, such as ``radial S 2.50``."""
        found: list[str] = []
        if RADIAL in self.settings.sets:
            found += [f'radial {one} {middle:.2f}' for one in self.partners for middle in self.settings.shells_angstrom]
        if ANGULAR in self.settings.sets:
            pairs = combinations_with_replacement(self.partners, 2)
            found += [
                f'angular {one}-{other} {xi:g} {sign:g} {zeta:g}'
                for one, other in pairs
                for xi, sign, zeta in self.settings.angles
            ]
        return tuple(found)

    @cached_property
    def _pair_of(self) -> np.ndarray:
        """(n_elements, n_elements) number of each pair of elements."""
        n = len(self.partners)
        found = np.zeros((n, n), np.int64)
        for number, (one, other) in enumerate(combinations_with_replacement(range(n), 2)):
            found[one, other] = found[other, one] = number
        return found

    def of(
        self, positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray, symbols: np.ndarray, ions: np.ndarray
    ) -> np.ndarray:
        """All functions of some ions, (frames, n_ions, n_features).

        Args:
            positions: (frames, n_atoms, 3) in Å, wrapped or not.
            cells: (frames, 3, 3) in Å.
            pbc: (3,) which directions are periodic.
            symbols: (n_atoms,) chemical symbols.
            ions: (n_ions,) indices.
        """
        kind = np.full(len(symbols), -1, np.int64)
        for number, partner in enumerate(self.partners):
            kind[symbols == partner] = number
        wanted = np.zeros(len(symbols), bool)
        wanted[ions] = True
        return np.stack(
            [
                self._of_frame(
                    np.ascontiguousarray(place, float), complete_cell(place, cell, pbc), pbc, kind, ions, wanted
                )
                for place, cell in zip(positions, np.asarray(cells, float))
            ]
        )

    def _of_frame(self, place, cell, pbc, kind, ions, wanted) -> np.ndarray:
        chosen, n_elements = self.settings, len(self.partners)
        common = place, cell, np.asarray(pbc, bool), kind, np.asarray(ions, np.int64), wanted, np.bool_(False)
        parts = []
        if RADIAL in chosen.sets:
            shells = chosen.shells_angstrom
            reach = float(shells[-1] + REACH * chosen.shell_width_angstrom)
            out = np.zeros((len(ions), n_elements, len(shells)))
            _add_radial(*common, reach, shells, chosen.shell_step_angstrom, chosen.shell_width_angstrom, out)
            parts.append(out.reshape(len(ions), -1))
        if ANGULAR in chosen.sets:
            lists = (np.array(one) for one in (chosen.angular_xi_angstrom, chosen.angular_lambda, chosen.angular_zeta))
            out = np.zeros((len(ions), int(self._pair_of.max()) + 1, len(chosen.angles)))
            _add_angular(*common, chosen.angular_cutoff_angstrom, self._pair_of, *lists, out)
            parts.append(out.reshape(len(ions), -1))
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(ions), 0))


@njit(nogil=True)
def _add_radial(place, cell, pbc, kind, ions, wanted, half, reach, shells, step, width, out):
    """Add the radial functions to ``out``, (n_ions, n_elements, n_shells)."""
    wrap, start, keys = packed_neighbours(place, cell, pbc, reach, wanted, half)
    vector = np.empty(3)
    n_shells = len(shells)
    for row in range(len(ions)):
        i = ions[row]
        for q in range(start[i], start[i + 1]):
            element = kind[packed_atom(keys[q])]
            if element < 0:
                continue
            set_vector(vector, place, cell, wrap, i, keys[q])
            r = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
            first = max(0, int(np.ceil((r - REACH * width - shells[0]) / step)))
            last = min(n_shells - 1, int(np.floor((r + REACH * width - shells[0]) / step)))
            for shell in range(first, last + 1):
                apart = (r - shells[shell]) / width
                out[row, element, shell] += np.exp(-0.5 * apart * apart)


@njit(nogil=True)
def _add_angular(place, cell, pbc, kind, ions, wanted, half, cutoff, pair_of, xi, sign, zeta, out):
    """Add the angular functions to ``out``, (n_ions, n_pairs, n_xi · n_sign · n_zeta)."""
    wrap, start, keys = packed_neighbours(place, cell, pbc, cutoff, wanted, half)
    most = (start[1:] - start[:-1]).max()
    vector, distance, edge, element = np.empty((most, 3)), np.empty(most), np.empty(most), np.empty(most, np.int64)
    for row in range(len(ions)):
        i, n = ions[row], 0
        for q in range(start[i], start[i + 1]):
            element[n] = kind[packed_atom(keys[q])]
            if element[n] < 0:
                continue
            set_vector(vector[n], place, cell, wrap, i, keys[q])
            distance[n] = np.sqrt(vector[n, 0] ** 2 + vector[n, 1] ** 2 + vector[n, 2] ** 2)
            edge[n] = 0.5 * (1.0 + np.cos(np.pi * distance[n] / cutoff))
            n += 1
        for j in range(n):
            for k in range(j):
                product = 0.0
                for x in range(3):
                    product += vector[j, x] * vector[k, x]
                near, far = distance[j] ** 2, distance[k] ** 2
                squares = near + far + (near + far - 2 * product)
                cosine = min(1.0, max(-1.0, product / (distance[j] * distance[k])))
                pair, column = pair_of[element[j], element[k]], 0
                for a in range(len(xi)):
                    radial = np.exp(-squares / xi[a] ** 2) * edge[j] * edge[k]
                    for b in range(len(sign)):
                        for c in range(len(zeta)):
                            out[row, pair, column] += radial * (1.0 + sign[b] * cosine) ** zeta[c]
                            column += 1
