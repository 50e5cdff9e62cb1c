"""First structures of a material to label: rattled and strained, and along runs that a universal potential guides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from ase.md.langevin import Langevin

from aiida_ufpnmr.engine.building.guides import GUIDES
from aiida_ufpnmr.engine.building.label_cells import NEIGHBOURS
from aiida_ufpnmr.engine.building.packing import contacts
from aiida_ufpnmr.engine.building.strain import PLANES, strained_cell
from aiida_ufpnmr.engine.dataset import bare, check_bonds, check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import Settings, setting, time_step_fs

V = TypeVar('V')

#: Groups of structures that no fit shall see begin with this.
WITHHELD = 'withheld'
#: And those with a pair of atoms closer than any in the cell with this.
SQUEEZED = 'squeezed'
#: The group of the cell as it is.
AS_IT_IS = 'as_it_is'
#: Atoms of a rattled structure that come too close are displaced anew so many times.
ATTEMPTS = 100
#: How close atoms of two elements may come, as a share of their shortest distance in the cell.
LEAST_SHARE = 0.8
#: Distances that are looked at for this, Å.
REACH = 6.0
#: Two elements are apart where their shortest distance is this many times that of either from another.
APART = 1.15
#: Pairs whose distance is no more than this above the shortest may be squeezed, Å.
CLOSE_TO_SHORTEST = 0.1
#: The other atoms of a squeezed structure are rattled by this, Å.
BESIDE_SQUEEZED = 0.03
#: Share of a guided run that goes by before its first frame is taken.
SETTLING = 0.25
#: Friction of the Langevin thermostat of guided runs, 1/fs.
FRICTION_PER_FS = 0.02


@dataclass(frozen=True)
class DrawSettings(Settings):
    """What first structures of a material are drawn."""

    number: int = setting(30, 'How many structures, with those that are withheld.', least=2, most=10_000)
    withheld_share: float = setting(
        0.2, f'Share of them in groups "{WITHHELD}...", for the errors: drawn by themselves, two at least.', least=0,
        most=0.8,
    )  # fmt: skip
    rattle_angstrom: tuple[float, ...] = setting(
        (0.03, 0.06, 0.1, 0.15),
        'Standard deviations of the displacements along each axis, Å. Atoms that come closer than four fifths of the '
        'shortest distance of their elements are displaced anew.',
        above=0,
        most=2,
    )
    volume_percent: tuple[float, ...] = setting(
        (-5.0, 0.0, 5.0), 'Changes of the volume in percent, evenly among the structures.', least=-60, most=200
    )
    shear_percent: tuple[float, ...] = setting(
        (0.0, 4.0), 'Shears in percent, evenly among the structures, each in one of three planes.', least=-50, most=50
    )
    squeeze_share: tuple[float, ...] = setting(
        (0.72, 0.82),
        'Beside these, for every two elements with neighbours, a pair of atoms is brought to each of these shares of '
        'their shortest distance, which tells how they repel.',
        above=0.5,
        most=1,
    )
    squeeze_share_apart: tuple[float, ...] = setting(
        (0.6, 0.74),
        'The same for two elements that are farther apart than either is from its nearest neighbours: they are soft, '
        'and heat brings them closer.',
        above=0.5,
        most=1,
    )
    squeeze_weight: float = setting(
        0.1,
        'What a squeezed structure counts in fits, where another counts 1: it tells how atoms repel, with forces ten '
        'times as large as others, whose errors would be the price.',
        above=0,
        most=1,
    )
    seed: int = setting(0, 'Seed of all that is random.', least=0)
    guide: str | None = setting(None, 'Draw also along runs with this universal potential.', choices=tuple(GUIDES))
    guided_share: float = setting(
        0.5, 'Share of the structures that are drawn along runs, with --guide.', above=0, most=1
    )
    guide_temperatures_K: tuple[float, ...] = setting(
        (300.0, 600.0, 1000.0),
        'Temperatures of the guided runs, K.',
        above=0,
        most=20_000,
        metavar='K,...',
        option='guide-temperatures',
    )
    guide_ps: float = setting(1.0, 'Length of each guided run, ps.', above=0, most=1000)
    guide_timestep_fs: float = setting(
        2.0,
        'Time step of guided runs, fs.',
        above=0,
        most=20,
        parse=time_step_fs,
        metavar='FS',
        option='guide-timestep',
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ('rattle_angstrom', 'volume_percent', 'shear_percent', 'guide_temperatures_K'):
            if not getattr(self, name):
                raise InputError(f'{name} is empty; give one number at least')
        for field in fields(self) if self.guide is None else ():
            if field.name.startswith('guide') and getattr(self, field.name) != field.default:
                raise InputError(f'{field.name} is for guided runs; name a guide, or leave it out')
        if self.withheld and self.number - self.withheld < 1:
            raise InputError(f'number = {self.number} leaves none to fit to beside {self.withheld} withheld; raise it')

    @property
    def withheld(self) -> int:
        """The number of structures that no fit shall see."""
        return max(2, round(self.withheld_share * self.number)) if self.withheld_share else 0


def drawn_cells(
    atoms: Atoms, settings: DrawSettings, calculator: Calculator | None = None, source: str = 'structure'
) -> list[Atoms]:
    """Structures to label, without labels: those to fit to first, then those that are withheld, then squeezed ones.

    Each structure has an amplitude, a change of volume and a shear from the lists, every entry of which is used as
    often as the others, in an order by chance; the first to fit to is the cell as it is. Frames of guided runs are
    evenly spaced; withheld frames are of runs of their own. What was done is in ``info``, groups in ``config_type``.

    Args:
        atoms: the cell.
        settings: how many of which.
        calculator: that of the guide, where the settings name one.
        source: what to call the cell in messages.

    Raises:
        InputError: not periodic along all directions, atoms that always come too close, or a guide that leads nowhere.
    """
    if not atoms.pbc.all():
        raise InputError(f'{source}: only a cell that is periodic along all directions can be drawn from')
    drawn: list[Atoms] = []
    for part, (group, number) in enumerate((('', settings.number - settings.withheld), (WITHHELD, settings.withheld))):
        rng = np.random.default_rng([settings.seed, part])
        guided = round(settings.guided_share * number) if calculator is not None else 0
        drawn += _rattled(atoms, settings, rng, number - guided, group, source)
        if guided and calculator is not None:
            drawn += _guided(atoms, settings, rng, guided, group, calculator, source)
    return [*drawn, *_squeezed(atoms, settings)]


def _squeezed(atoms: Atoms, settings: DrawSettings) -> Iterator[Atoms]:
    """Structures in which one pair of two elements is closer than any in the cell, for all that are neighbours."""
    rng = np.random.default_rng([settings.seed, 2])
    found = contacts(atoms.positions, atoms.cell.array, np.arange(len(atoms)), NEIGHBOURS)
    kinds = np.sort(np.stack([atoms.numbers[found.i], atoms.numbers[found.j]], axis=1), axis=1)
    for kind in np.unique(kinds[found.i != found.j], axis=0):  # of an atom and its image none comes closer
        own = np.flatnonzero((kinds == kind).all(axis=1) & (found.i != found.j))
        shortest = found.distance[own].min()
        nearest = min(found.distance[atoms.numbers[found.i] == number].min() for number in kind)
        apart = shortest > APART * nearest
        for share in settings.squeeze_share_apart if apart else settings.squeeze_share:
            pair = rng.choice(own[found.distance[own] < shortest + CLOSE_TO_SHORTEST])
            cell = bare(atoms)
            cell.rattle(BESIDE_SQUEEZED, rng=rng)
            move = 0.5 * (1 - share * shortest / found.distance[pair]) * found.vector[pair]
            for atom, by in ((found.i[pair], move), (found.j[pair], -move)):
                cell.positions[atom] = atoms.positions[atom] + by
            if not _problem(cell):
                names = '-'.join(chemical_symbols[number] for number in kind)
                yield _named(cell, '', f'{SQUEEZED}_{names}', squeeze_share=share, weight=settings.squeeze_weight)


def _rattled(
    atoms: Atoms, settings: DrawSettings, rng: np.random.Generator, number: int, group: str, source: str
) -> Iterator[Atoms]:
    amplitudes = _evenly(settings.rattle_angstrom, number, rng)
    elements, least = _least_distances(atoms)
    for i, (amplitude, cell) in enumerate(zip(amplitudes, _strained(atoms, settings, number, rng))):
        if i == 0 and not group:
            yield _named(bare(atoms), '', AS_IT_IS, rattle_angstrom=0.0)
            continue
        found, close = cell.copy(), np.ones(len(cell), bool)
        for _ in range(ATTEMPTS):
            displacements = rng.normal(scale=amplitude, size=(np.count_nonzero(close), 3))
            found.positions[close] = cell.positions[close] + displacements
            close = _too_close(found, elements, least)
            if not close.any():
                if not _problem(found):
                    break
                close[:] = True
        else:
            raise InputError(
                f'{source}: atoms that are rattled by {amplitude:g} Å come too close, {ATTEMPTS} times in a row; give '
                'smaller rattle_angstrom'
            )
        yield _named(found, group, f'rattled_{amplitude:g}', rattle_angstrom=amplitude)


def _guided(
    atoms: Atoms, settings: DrawSettings, rng: np.random.Generator, number: int, group: str, calculator: Calculator,
    source: str,
) -> Iterator[Atoms]:  # fmt: skip
    temperatures = sorted(_evenly(settings.guide_temperatures_K, number, rng))
    runs = sorted(set(temperatures))
    steps = max(1, round(1000 * settings.guide_ps / settings.guide_timestep_fs))
    for temperature, cell in zip(runs, _strained(atoms, settings, len(runs), rng)):
        wanted = temperatures.count(temperature)
        at = np.unique(np.linspace(SETTLING * steps, steps, wanted + 1).round().astype(int)[1:]).tolist()
        frames = list(_run(cell, calculator, temperature, at, settings, rng))
        if not frames:
            raise InputError(
                f'{source}: the guide {settings.guide} leads atoms into each other at {temperature:g} K; give lower '
                'guide_temperatures_K, or leave the guide out'
            )
        for frame in frames:
            yield _named(frame, group, f'guided_{temperature:g}', guide=str(settings.guide), temperature_K=temperature)


def _run(
    atoms: Atoms, calculator: Calculator, temperature: float, at: Sequence[int], settings: DrawSettings,
    rng: np.random.Generator,
) -> Iterator[Atoms]:  # fmt: skip
    """Frames at some steps of a run at constant volume, as long as no atoms come closer than any bond."""
    atoms.calc = calculator
    masses = atoms.get_masses()[:, None]
    velocities = rng.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * temperature / masses)
    atoms.set_velocities(velocities - np.sum(masses * velocities, axis=0) / masses.sum())
    dynamics = Langevin(
        atoms, settings.guide_timestep_fs * units.fs, temperature_K=temperature, friction=FRICTION_PER_FS / units.fs,
        rng=rng, fixcm=False,
    )  # fmt: skip
    with progress(int(at[-1]), f'{temperature:g} K', 'step') as bar:
        for step in at:
            more = int(step) - dynamics.nsteps
            dynamics.run(more)
            bar.update(more)
            frame = bare(atoms)
            if _problem(frame):
                return
            frame.info = dict(atoms.info)
            yield frame


def _least_distances(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Number of the element of each atom, and by two of them how close they may come (Å); 0 beyond :data:`REACH`."""
    _, elements = np.unique(atoms.numbers, return_inverse=True)
    found = contacts(atoms.positions, atoms.cell.array, np.arange(len(atoms)), REACH)
    shortest = found.shortest(elements, elements.max() + 1)
    return elements, np.where(np.isfinite(shortest), LEAST_SHARE * shortest, 0.0)


def _too_close(atoms: Atoms, elements: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Which atoms have another closer than the elements of both may come."""
    found = contacts(atoms.positions, atoms.cell.array, np.arange(len(atoms)), max(least.max(), 1e-3))
    close = np.zeros(len(atoms), bool)
    close[found.i[found.distance < least[elements[found.i], elements[found.j]]]] = True
    return close


def _evenly(values: Sequence[V], number: int, rng: np.random.Generator) -> list[V]:
    """``number`` values in an order by chance, each as often as the others."""
    return [values[i] for i in rng.permutation(np.arange(number) % len(values))]


def _strained(atoms: Atoms, settings: DrawSettings, number: int, rng: np.random.Generator) -> Iterator[Atoms]:
    """So many strained cells."""
    volumes, shears = (_evenly(values, number, rng) for values in (settings.volume_percent, settings.shear_percent))
    for volume, shear, plane in zip(volumes, shears, _evenly(tuple(PLANES), number, rng)):
        cell = strained_cell(atoms, volume, shear, plane)
        cell.info = {'volume_percent': volume, 'shear_percent': shear, 'shear_plane': plane}
        yield cell


def _problem(atoms: Atoms) -> bool:
    try:
        check_geometry(atoms, '')
        check_bonds(atoms, '')
    except InputError:
        return True
    return False


def _named(atoms: Atoms, group: str, kind: str, **info: float | str) -> Atoms:
    name = '_'.join(filter(None, (group, kind))).replace('.', '_')
    atoms.info = {**atoms.info, **info, 'config_type': name}
    return atoms
