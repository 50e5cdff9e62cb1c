"""Claims about costs beside published ones."""

from aiida_ufpnmr.tools.costs import DynamicsCost, beside_harper


def test_costs_of_runs_of_other_sizes_are_compared_by_atom_and_by_tensor():
    """The same for ten times the atoms, steps and tensors at ten times the price for each of them."""
    small = DynamicsCost(cpu_s=72.0, atoms=100, steps=20_000, timestep_fs=2.0, tensors=72_000)
    large = DynamicsCost(cpu_s=7200.0, atoms=1000, steps=200_000, timestep_fs=2.0, tensors=7_200_000)
    for cost in (small, large):
        rows = {name: (here, published) for name, here, published in beside_harper(cost)}
        assert rows['dynamics, an atom and ns'] == ('0.005 CPU h', '0.0417 to 0.104 CPU h')
        assert rows['dynamics, an atom and step of 2 fs'] == ('36 CPU µs', 'time step not given')
        assert rows['prediction, a tensor'] == ('below 0.001 CPU s', '0.83 CPU s')


def test_what_was_published_lies_within_its_own_bounds():
    """1 µs of the larger cell, had it taken all 40 000 CPU hours."""
    rows = beside_harper(DynamicsCost(cpu_s=40_000 * 3600, atoms=576, steps=10**9, timestep_fs=1.0, tensors=1))
    here, published = next(row[1:] for row in rows if row[0] == 'dynamics, an atom and ns')
    least, _, most, *_ = published.split()
    assert float(least) < float(here.split()[0]) < float(most)
