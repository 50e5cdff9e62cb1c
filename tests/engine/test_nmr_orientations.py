"""Claims about orientations: angles are those of the equation, bins have one area, and nothing depends on the frame."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling, quadrupolar_frequency
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.orientations import field_angles, orientation_maps
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, write_efg


def tensors(seed, shape, scale=5e-3):
    """Tensors without a preferred direction."""
    v = scale * np.random.default_rng(seed).standard_normal((*shape, 3, 3))
    v = v + v.swapaxes(-1, -2)
    return v - np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3


def series(v):
    return EfgRuns.of(EfgSeries('Li', np.arange(v.shape[1]), 100.0 * np.arange(len(v)), v))


@pytest.mark.parametrize('convention, sign', [('harper', -1), ('ordered', 1)])
def test_angles_give_back_the_frequency_by_equation_two(convention, sign):
    v, b = tensors(0, (300,)), (0.3, -0.5, 0.8)
    theta, phi = field_angles(v, b, convention)
    eta = asymmetry(v)
    omega = (
        0.5 * quadrupolar_coupling(v) * (3 * np.cos(theta) ** 2 - 1 + sign * eta * np.sin(theta) ** 2 * np.cos(2 * phi))
    )
    np.testing.assert_allclose(omega, quadrupolar_frequency(v, b), atol=1e-9)


def test_an_isotropic_sample_fills_all_bins_alike():
    found = orientation_maps(series(tensors(1, (800, 400))), bins=8)['all']
    for one in (found.field_in_axes, found.axis_in_cell):
        expected = one.tensors / one.density.size
        # counts of independent tensors: the largest of some hundred bins within 4.5 standard deviations
        assert np.abs(one.density - 1).max() < 4.5 / np.sqrt(expected)
        assert one.density.mean() == pytest.approx(1)
        assert one.half_area == pytest.approx(0.5, abs=0.02)
    eta = asymmetry(tensors(1, (800, 400)))
    assert found.field_in_axes.well_defined_share == pytest.approx(((eta > 0.1) & (eta < 0.9)).mean(), abs=1e-3)


def test_a_turned_crystal_in_a_turned_field_has_the_same_map_of_the_field():
    v, b = tensors(2, (50, 40)) + 8e-3 * np.diag([0.2, -1.2, 1.0]), np.array([0.1, 0.7, -0.4])
    turn = Rotation.random(random_state=0).as_matrix()
    one = orientation_maps(series(v), tuple(b))['all'].field_in_axes
    other = orientation_maps(series(turn @ v @ turn.T), tuple(turn @ b))['all'].field_in_axes
    # a tensor on the edge of a bin may fall to the other side by rounding
    assert np.abs(one.density - other.density).sum() <= 2 * one.density.size / one.tensors


def test_one_orientation_is_found_where_it_is():
    turn = Rotation.from_euler('ZY', [40, 65], degrees=True).as_matrix()  # z goes to θ = 65°, φ = 40°
    v = np.broadcast_to(turn @ (1e-2 * np.diag([-0.3, -0.7, 1.0])) @ turn.T, (20, 3, 3, 3))
    found = orientation_maps(series(v), bins=45)['all']
    assert found.axis_in_cell.mode == pytest.approx((65, 40), abs=2)
    # the field along Z of the cell lies in the xz plane of the tensor: 90° from its y axis
    assert found.field_in_axes.mode == pytest.approx((65, 90), abs=2)
    assert orientation_maps(series(v), convention='ordered')['all'].field_in_axes.mode == pytest.approx((65, 0), abs=3)
    assert found.axis_in_cell.half_area < 1e-3


def test_tensors_without_direction_are_refused():
    with pytest.raises(InputError, match='too small'):
        orientation_maps(series(np.zeros((4, 2, 3, 3))))


def test_the_command_writes_maps_and_refuses_a_powder(tmp_path):
    path = tmp_path / 'run.h5'
    write_efg(path, EfgSeries('Li', np.arange(5), 100.0 * np.arange(30), tensors(0, (30, 5))))
    files = [str(tmp_path / name) for name in ('out.h5', 'out.png', 'out.json')]
    arguments = ['orientations', str(path), '-o', files[0], '--plot', files[1], '--json', files[2]]
    result = CliRunner().invoke(analyse, [*arguments, '--field', '1,1,0'], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads((tmp_path / 'out.json').read_text())
    assert found['maps']['all']['field_in_axes']['tensors'] == 150
    assert found['field_direction'] == pytest.approx([2**-0.5, 2**-0.5, 0])
    refused = CliRunner().invoke(analyse, [*arguments, '--field', 'powder'])
    assert refused.exit_code == 2 and 'direction of the field' in refused.output
