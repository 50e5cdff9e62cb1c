"""Maps of the orientations of EFG tensors on the sphere; Harper 2024, Fig. 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import starting_sites
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, field_direction
from aiida_ufpnmr.engine.nmr.orientations import OrientationMap, Orientations, orientation_maps
from aiida_ufpnmr.engine.nmr.runs import TensorSettings
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import AnionSettings, SiteSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATITUDES = (0, 30, 60, 90, 120, 150, 180)
LABELS = {'field_in_axes': 'field in the principal axes', 'axis_in_cell': 'largest principal axis in the cell'}


def single_direction(value: str) -> str | tuple[float, float, float]:
    """A direction of the field that is no powder average."""
    if value == 'powder':
        raise ValueError('a map of orientations needs a direction of the field: x, y, z or a vector')
    return field_direction(value)


def unit_vector(field: str | tuple[float, float, float]) -> tuple[float, float, float]:
    """Along such a direction."""
    return AcfSettings(field=field).direction or (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class OrientationsSettings(TensorSettings, AnionSettings):
    """Choices of the maps."""

    field: str | tuple[float, float, float] = setting(
        'z', 'Direction of the magnetic field in the cell.', parse=single_direction, metavar='x|y|z|bx,by,bz'
    )
    convention: Literal['harper', 'ordered'] = setting(
        'harper', 'φ of the field counted from the y axis (harper: a minus sign before η) or from x (ordered: a plus).'
    )
    bins: int = setting(30, 'Bins in cos θ and in a quarter turn.', least=2, most=200)
    by_site: bool = setting(False, 'Also a map for each kind of site, as "analyse sites" finds them.')


@dataclass(frozen=True)
class OrientationsResult(Result):
    """Maps of all ions and, where asked, by site."""

    KIND = 'orientations'

    maps: dict[str, Orientations] = quantity('', 'by ions: all, and names of sites')
    field_direction: tuple[float, float, float] = quantity('', 'unit vector of the field, Cartesian')

    @property
    def headline(self) -> str:
        return f'{super().headline}; densities are 1 where isotropic'

    @classmethod
    def read_first(cls, file: h5py.File) -> OrientationsResult:
        maps = {}
        for name in (name for name in file if name != 'record'):
            pair = [(file[name][key][...], dict(file[name][key].attrs)) for key in LABELS]
            maps[name] = Orientations(*(OrientationMap(density=density, **others) for density, others in pair))
        convention = {'convention': file.attrs['convention']}
        return cls(maps=maps, field_direction=tuple(file.attrs['field_direction'].tolist()), settings=convention)

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [
            ('ions', 'map', 'tensors', 'fullest bin θ, φ (°)', 'its density', 'area of half', 'axes well defined')
        ]
        for name, pair in self.maps.items():
            for key, label in LABELS.items():
                one = getattr(pair, key)
                rows.append(
                    (
                        name,
                        label,
                        str(one.tensors),
                        f'{one.mode[0]:.0f}, {one.mode[1]:.0f}',
                        f'{one.density.max():.2f}',
                        f'{one.half_area:.2f}',
                        f'{one.well_defined_share:.2f}',
                    )
                )
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(11.0, 0.6 + 3.2 * len(self.maps)), layout='constrained')
        panels = figure.subplots(len(self.maps), 2, squeeze=False)
        for row, (name, pair) in zip(panels, self.maps.items()):
            for axis, (key, label) in zip(row, LABELS.items()):
                plot_orientations(getattr(pair, key), axis, label if name == 'all' else f'{name}: {label}')
        return figure


@analysis('orientations', 'ufpnmr analyse orientations run.h5 --by-site --plot maps.png --json maps.json')
def orientations(source: TensorSource, settings: OrientationsSettings) -> OrientationsResult:
    """Maps of the orientations of EFG tensors on the sphere, with bins of equal area.

    One is of the field in the principal axes of the tensors, the other of their largest principal axis in the cell.
    """
    direction = unit_vector(settings.field)
    maps = orientation_maps(
        source.runs,
        direction,
        convention=settings.convention,
        bins=settings.bins,
        groups=starting_sites(source.runs, SiteSettings(anion=settings.anion)) if settings.by_site else (),
    )
    return OrientationsResult(maps=maps, field_direction=direction)


def plot_orientations(found: OrientationMap, axis: Axes, title: str) -> None:
    """Draw the density of directions in a projection of equal areas (cos θ against φ).

    A quarter of a turn in φ, which is all that axes without a sign have, is drawn with its mirror images.
    """
    cosine, phi, density = found.cos_theta_edges, np.degrees(found.phi_edges_rad), found.density
    quarter = phi[-1] < 91
    if quarter:
        density = np.hstack([density[:, ::-1], density])
        phi = np.concatenate([-phi[:0:-1], phi])
        density = np.vstack([density[::-1], density])
        cosine = np.concatenate([-cosine[:0:-1], cosine])
    mesh = axis.pcolormesh(phi, cosine, density, cmap='viridis', vmin=0.0, rasterized=True)
    bar = axis.figure.colorbar(mesh, ax=axis, fraction=0.05, pad=0.02)
    bar.set_label('density (isotropic = 1)')
    bar.outline.set_visible(False)
    shown = [degrees for degrees in LATITUDES if cosine[0] - 1e-9 <= np.cos(np.radians(degrees))]
    axis.set_yticks(np.cos(np.radians(shown)), [str(degrees) for degrees in shown])
    axis.set_xticks(np.arange(phi[0], phi[-1] + 1, 45 if quarter else 90))
    axis.set(xlabel='φ (°)', ylabel='θ (°), areas to scale')
    axis.set_title(title, fontsize=10)
