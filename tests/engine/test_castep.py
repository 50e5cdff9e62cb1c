"""Claims about what is read from CASTEP's files: those of a stand-in, and real ones where they are at hand."""

from __future__ import annotations

import re
from contextlib import suppress

import castep_stand_in
import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.dft import read_castep, read_magres
from aiida_ufpnmr.engine.dft.castep import parse_castep
from aiida_ufpnmr.engine.dft.castep_configurations import sections
from aiida_ufpnmr.engine.dft.castep_label import castep_label
from aiida_ufpnmr.engine.dft.castep_settings import (
    LADDER,
    castep_settings_sha256,
    label_settings,
    refusal,
    rung_parameters,
)
from aiida_ufpnmr.engine.dft.castep_sites import numbered, species_of_each_site
from aiida_ufpnmr.engine.dft.identity import structure_sha256
from aiida_ufpnmr.engine.dft.magres import parse_magres
from aiida_ufpnmr.engine.dft.refusals import MissingLabel, TruncatedOutput, WrongStructure
from aiida_ufpnmr.engine.efg import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError

#: A triclinic cell, species in no order, two kinds of Li between each other, one atom outside of the cell.
CELL = np.array([[7.0, 0.0, 0.0], [1.5, 6.5, 0.0], [-0.8, 1.1, 8.0]])
SYMBOLS = ('S', 'Li', 'P', 'Li', 'Li', 'S', 'Li')
KINDS = ('S', 'Li1', 'P', 'Li', 'Li1', 'S', 'Li')
POSITIONS = np.array(
    [[0.1, 0, 0], [2.2, 0.3, 0.1], [0.2, 3.1, 0.4], [0.3, 0.2, 3.3], [2.4, 2.5, 2.9], [4.1, 1.9, -1.5], [4.3, 4.4, 9.1]]
)


@pytest.fixture
def structure() -> Atoms:
    return Atoms(SYMBOLS, POSITIONS, cell=CELL, pbc=True)


SPECIES = species_of_each_site(SYMBOLS, KINDS)


def write_input(folder, structure, species, **param):
    rows = lambda block, lines: [f'%BLOCK {block}', *lines, f'%ENDBLOCK {block}']  # noqa: E731
    numbers = lambda row: ' '.join(f'{x:.10f}' for x in row)  # noqa: E731
    lines = rows('LATTICE_CART', map(numbers, structure.cell.array))
    lines += rows('POSITIONS_ABS', (f'{name} {numbers(p)}' for name, p in zip(species, structure.positions)))
    lines += ['kpoints_mp_grid : 1 1 1', *rows('SPECIES_POT', (f'{name} C19' for name in dict.fromkeys(species)))]
    (folder / 'label.cell').write_text('\n'.join(lines))
    keywords = {
        'task': 'magres',
        'magres_task': 'efg',
        'calculate_stress': 'True',
        'fix_occupancy': 'True',
        'cut_off_energy': '400',
    }
    (folder / 'label.param').write_text('\n'.join(f'{key} : {value}' for key, value in (keywords | param).items()))


@pytest.fixture
def castep(tmp_path, structure):
    """Runs the stand-in and gives the texts of its two files."""

    def run(behaviour='ok', structure=structure, species=SPECIES, **param):
        write_input(tmp_path, structure, species, **param)
        castep_stand_in.Castep(tmp_path, 'label', behaviour).run()
        magres = tmp_path / 'label.magres'
        return (tmp_path / 'label.castep').read_text(), magres.read_text() if magres.exists() else ''

    return run


def truth(structure):
    """What the stand-in computes, with numpy and in the order of the sites."""
    x, charges = (
        structure.positions,
        np.array([castep_stand_in.ELEMENTS[s][1] for s in structure.get_chemical_symbols()]),
    )
    d = x[None] - x[:, None]
    scaled = d @ np.linalg.inv(structure.cell.array)
    d = (scaled - np.round(scaled)) @ structure.cell.array
    r = np.linalg.norm(d, axis=2) + np.eye(len(x))
    pair = np.exp(-r) * (1 - np.eye(len(x)))
    forces = -(pair / r)[:, :, None] * d
    stress = -0.5 * np.einsum('ij,ija,ijb->ab', pair / r, d, d) / structure.cell.volume
    weight = charges[None] * (1 - np.eye(len(x))) * castep_stand_in.BOHR**3
    gradient = 3 * np.einsum('ija,ijb->ijab', d, d) - (r**2)[:, :, None, None] * np.eye(3)
    efg = np.einsum('ij,ijab->iab', weight / r**5, gradient)
    return 0.5 * pair.sum(), forces.sum(axis=1), stress, efg


def test_labels_come_back_in_the_order_of_the_sites(structure, castep):
    """Shuffled species, two kinds of one element, a triclinic cell, an atom outside of it."""
    text, magres = castep()
    energy, forces, stress, efg = truth(structure)
    label = castep_label(structure, SPECIES, parse_castep(text), parse_magres(magres))
    np.testing.assert_allclose(label.get_potential_energy(), energy, atol=1e-9)
    np.testing.assert_allclose(label.get_forces(), forces, atol=1e-5)  # CASTEP prints five digits
    np.testing.assert_allclose(label.get_stress(voigt=False), stress, atol=1e-6 * GPa)
    np.testing.assert_allclose(label.arrays['efg'], efg, atol=1e-14)
    assert list(label.symbols) == list(SYMBOLS)
    np.testing.assert_array_equal(label.positions, POSITIONS)
    # the file has another order: to take it as it stands would have been wrong
    assert parse_castep(text).force_ions.species[0].startswith('Li') and SYMBOLS[0] == 'S'


def test_free_energy_is_the_one_whose_derivatives_the_forces_are(castep):
    fixed = castep(fix_occupancy='true')[0]
    smeared = castep(fix_occupancy='false')[0]
    assert 'Final free energy' in smeared and 'Final free energy' not in fixed
    expected = parse_castep(fixed).energy
    assert parse_castep(fixed).free_energy == expected
    # the stand-in sets E above the free energy by 2 meV
    assert parse_castep(smeared).free_energy == pytest.approx(expected)
    assert parse_castep(smeared).energy == pytest.approx(expected + 1e-3)


def test_dispersion_belongs_to_the_energies_of_its_scf(castep):
    fixed, smeared = castep(fix_occupancy='true')[0], castep(fix_occupancy='false')[0]
    plain = parse_castep(smeared)
    line = f'Dispersion corrected final energy*, Ecor          =  {plain.energy + 1e-3 - 1.5:.9f}     eV\n'
    corrected = smeared.replace('(energies not corrected', f'{line}(energies not corrected')
    assert parse_castep(corrected).energy == pytest.approx(plain.energy - 1.5)
    assert parse_castep(corrected).free_energy == pytest.approx(plain.free_energy - 1.5)
    with_later_scf = corrected + fixed[fixed.index('Final energy') :]
    assert parse_castep(with_later_scf).energy == pytest.approx(parse_castep(fixed).energy)


def test_stress_is_positive_under_tension(structure):
    """CASTEP's sign is ASE's: the stand-in repels, so its crystal pushes outward and its stress is negative."""
    _, _, stress, _ = truth(structure)
    assert np.trace(stress) < 0
    strained = structure.copy()
    energies = []
    for strain in (-1e-4, 1e-4):
        strained.set_cell(structure.cell.array * (1 + strain), scale_atoms=False)
        strained.positions = structure.positions * (1 + strain)
        energies.append(truth(strained)[0])
    slope = (energies[1] - energies[0]) / 2e-4 / structure.cell.volume
    assert slope == pytest.approx(np.trace(stress), rel=1e-5)


def test_the_last_run_of_a_file_counts(castep, structure):
    first, _ = castep()
    moved = structure.copy()
    moved.positions[0] += 0.1
    both, _ = castep(structure=moved)  # CASTEP appends
    assert both.startswith(first)
    assert parse_castep(both).energy == pytest.approx(truth(moved)[0], abs=1e-9)
    assert len(parse_castep(both).ions) == 7


@pytest.mark.parametrize(
    ('behaviour', 'expected'),
    [
        ('ok', {'started', 'converged', 'finished', 'checkpoint'}),
        ('unconverged', {'started'}),
        ('out of time', {'started', 'converged', 'checkpoint', 'out_of_time'}),
        ('out early', {'started', 'converged', 'out_of_time'}),
        ('crash', {'started', 'converged', 'checkpoint'}),
    ],
)
def test_the_output_says_how_the_run_ended(castep, tmp_path, behaviour, expected):
    with suppress(castep_stand_in.Refused):
        castep(behaviour)
    run = read_castep(tmp_path / 'label.castep')
    names = ('started', 'converged', 'finished', 'checkpoint', 'out_of_time')
    assert {name for name in names if getattr(run, name)} == expected
    assert (run.energy is None) == (behaviour in ('unconverged', 'out early'))


def test_a_check_file_that_is_being_written_is_no_checkpoint(castep):
    text = castep()[0]
    cut = text[: text.index('.check') + len('.check\n')]
    assert not parse_castep(cut).checkpoint and parse_castep(cut + '\n more').checkpoint


@pytest.mark.parametrize('keep', np.linspace(0.02, 0.98, 25).tolist())
def test_a_file_cut_anywhere_is_never_taken_for_a_whole_one(castep, keep):
    text, magres = castep()
    with suppress(InputError):
        assert not parse_castep(text[: int(keep * len(text))]).finished
    with pytest.raises(InputError, match='truncated'):
        parse_magres(magres[: int(keep * len(magres))])


def test_output_of_another_structure_is_refused(structure, castep):
    text, magres = castep()
    run, tensors = parse_castep(text), parse_magres(magres)
    moved, swapped, grown = structure.copy(), structure.copy(), structure.copy()
    moved.positions[3, 0] += 0.05
    swapped.positions[[1, 4]] = swapped.positions[[4, 1]]
    grown.set_cell(CELL * 1.01)
    for other, message in ((moved, 'Li 1 lies 0.050 Å'), (swapped, 'Li:Li1 1 lies 3.567 Å'), (grown, 'another cell')):
        with pytest.raises(WrongStructure, match=message):
            castep_label(other, SPECIES, run, tensors)
    with pytest.raises(WrongStructure, match='Li:Li1'):
        castep_label(structure, SYMBOLS, run, tensors)
    with pytest.raises(WrongStructure, match='7 ions, but the structure has 6'):
        castep_label(structure[:6], SPECIES[:6], run, tensors)
    stranger = castep('stranger', cut_off_energy='401')[1]
    with pytest.raises(WrongStructure, match='magres'):
        castep_label(structure, SPECIES, run, parse_magres(stranger))


@pytest.mark.parametrize('tag', [lambda name: name.partition(':')[2] or name, lambda name: name.partition(':')[0]])
def test_files_that_call_species_by_tag_or_element_alone_are_read_if_the_coordinates_agree(structure, castep, tag):
    text, magres = castep()
    names = [tag(name) for name in SPECIES]
    for site, (old, new) in enumerate(zip(numbered(SPECIES), numbered(names))):
        new = (f'<{site}>', new[1])  # its name comes last, lest it be taken for an old one
        text = re.sub(rf'(^ *[x*] +){old[0]} +{old[1]} ', rf'\g<1>{new[0]} {new[1]} ', text, flags=re.M)
        magres = re.sub(
            rf'^atom {old[0]} +{old[0]} +{old[1]} ', f'atom {old[0]} {new[0]} {new[1]} ', magres, flags=re.M
        )
        magres = re.sub(rf'^(efg\w*) {old[0]} +{old[1]} ', rf'\1 {new[0]} {new[1]} ', magres, flags=re.M)
    for site, name in enumerate(names):
        text, magres = text.replace(f'<{site}>', name), magres.replace(f'<{site}>', name)
    run, tensors = parse_castep(text), parse_magres(magres)
    assert set(run.ions.species) == set(names) == set(tensors.labels)
    label = castep_label(structure, SPECIES, run, tensors)
    np.testing.assert_allclose(label.get_forces(), truth(structure)[1], atol=1e-5)
    np.testing.assert_allclose(label.arrays['efg'], truth(structure)[3], atol=1e-10)


def test_wrapped_coordinates_are_the_same_structure(structure, castep):
    text, magres = castep()
    wrapped = structure.copy()
    wrapped.wrap()
    assert not np.allclose(wrapped.positions, structure.positions)
    label = castep_label(wrapped, SPECIES, parse_castep(text), parse_magres(magres))
    np.testing.assert_allclose(label.arrays['efg'], truth(structure)[3], atol=1e-14)


def test_labels_that_were_asked_for_must_be_there(structure, castep):
    text, magres = castep('no stress')
    with pytest.raises(MissingLabel, match='calculate_stress'):
        castep_label(structure, SPECIES, parse_castep(text), parse_magres(magres))
    without = castep_label(structure, SPECIES, parse_castep(text), stress=False)
    assert 'stress' not in without.calc.results and 'efg' not in without.arrays


def test_other_units_are_refused_and_not_converted_in_silence(castep):
    text = castep()[0]
    for old, new, named in (
        ('components (eV/A)', 'components (Ha/B)', 'Ha/B'),
        ('components (GPa)', 'components (kbar)', 'kbar'),
        ('Real Lattice(A)', 'Real Lattice(Bohr)', 'Bohr'),
    ):
        with pytest.raises(InputError, match=named):
            parse_castep(text.replace(old, new))
    with pytest.raises(InputError, match='hartree'):
        parse_castep(text.replace('     eV\n', '     hartree\n'))


def test_forces_too_large_to_be_printed_are_refused_with_their_ion(castep):
    text = castep()[0]
    row = next(line for line in text.splitlines() if line.startswith(' * P '))
    with pytest.raises(InputError, match='force on P 1'):
        parse_castep(text.replace(row, row[:24] + '*************' + row[37:]))


def test_boxes_of_contributions_and_constrained_forces_are_not_the_forces(castep):
    text = castep()[0]
    start = text.index(' ' + '*' * 26 + ' Forces')
    box = text[start : text.index('*' * 60, start) + 61]
    for title in ('Ewald forces', 'Constrained Forces', 'Constrained Symmetrised Forces'):
        other = box.replace(' Forces ', f' {title} ').replace('.', '.9')
        np.testing.assert_array_equal(parse_castep(text + other).forces, parse_castep(text).forces)
    symmetrised = box.replace(' Forces ', ' Symmetrised Forces ').replace('.', '.9')
    assert abs(parse_castep(text + symmetrised).forces - parse_castep(text).forces).max() > 0.01


def test_tensors_are_not_doubled_by_their_contributions(castep, structure):
    magres = castep()[1]
    assert 'efg_local' in magres
    np.testing.assert_allclose(
        sorted(np.abs(parse_magres(magres).efg).max(axis=(1, 2))), sorted(np.abs(truth(structure)[3]).max(axis=(1, 2)))
    )


def test_labels_and_numbers_that_run_together_are_told_apart(tmp_path):
    """CASTEP before 22.1.1 writes "efg Li100" where the number has three digits."""
    n = 104
    rng = np.random.default_rng(0)
    places = 3.0 * np.array([(i % 5, i // 5 % 5, i // 25) for i in range(n)]) + 0.3 * rng.random((n, 3))
    crystal = Atoms(['Li'] * n, places, cell=[15, 15, 15], pbc=True)
    write_input(tmp_path, crystal, ['Li'] * n)
    castep_stand_in.Castep(tmp_path, 'label', 'ok').run()
    text = (tmp_path / 'label.magres').read_text()
    assert 'efg Li100 ' in text and 'efg Li 99 ' in text
    label = castep_label(crystal, ['Li'] * n, read_castep(tmp_path / 'label.castep'), parse_magres(text))
    np.testing.assert_allclose(label.arrays['efg'], truth(crystal)[3], atol=1e-10)  # ten digits in the .cell file
    atoms_too = re.sub(r'(atom +\S+ +Li) +(\d+)', r'\1\2', text)
    assert 'Li100 ' in atoms_too
    np.testing.assert_array_equal(parse_magres(atoms_too).efg, parse_magres(text).efg)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('efg P  1', 'efg P   2', 'none, or not one'),
        ('efg P  1', 'efg S   1', 'second tensor'),
        ('efg P  1 ', 'efg P  1 x', 'line 2. expected|line 3'),
        ('units efg au', 'units efg V/m2', 'V/m2'),
        ('units atom Angstrom', 'units atom bohr', 'bohr'),
        ('[atoms]', '[somewhere]', 'no atoms'),
        ('efg P  1', '# efg P  1', 'some atoms only; there is none of P 1'),
        ('#$magres', 'magres', 'first line'),
    ],
)
def test_a_damaged_magres_file_is_refused_in_one_line(castep, old, new, message):
    magres = castep()[1]
    assert old in magres
    with pytest.raises(InputError, match=message) as refused:
        parse_magres(magres.replace(old, new), 'run.magres')
    assert '\n' not in str(refused.value) and str(refused.value).startswith('run.magres')


def test_a_file_with_shieldings_only_says_what_to_do(castep):
    with pytest.raises(MissingLabel, match='magres_task : efg'):
        parse_magres(castep('shieldings')[1])
    with pytest.raises(TruncatedOutput, match='ends inside its block .magres.'):
        parse_magres(castep('cut magres')[1])


def test_keywords_of_the_run_itself_are_refused_in_any_case():
    assert 'task cannot be given' in refusal({'param': {'task': 'singlepoint'}})
    assert 'TASK cannot be given' in refusal({'PARAM': {'TASK': 'singlepoint'}})
    assert 'eV' in refusal({'PARAM': {'energy_unit': 'hartree'}})
    assert 'moves the atoms' in refusal({'CELL': {'snap_to_symmetry': True}})
    assert 'unknown section' in refusal({'PARM': {}})
    assert refusal({'PARAM': {'cut_off_energy': 500}, 'CELL': {'fix_all_cell': True}}) is None


def test_the_hash_of_settings_sees_what_changes_a_number_and_nothing_else():
    base = {'PARAM': {'cut_off_energy': 500.0, 'max_scf_cycles': 60}, 'CELL': {}}

    def hashed(parameters=base, mesh=((2, 2, 2), (0, 0, 0)), pseudopotentials=None, efg=True):
        settings = label_settings(parameters, [list(m) for m in mesh], pseudopotentials or {'Li': 'C19'}, efg)
        return castep_settings_sha256(settings)

    assert hashed() == hashed({'param': {'CUT_OFF_ENERGY': 500.0, 'mix_charge_amp': 0.2, 'write_bib': False}})
    assert hashed() == hashed(rung_parameters(base, LADDER[0]))
    different = [
        hashed({'PARAM': {'cut_off_energy': 501.0}, 'CELL': {}}),
        hashed(mesh=((2, 2, 1), (0, 0, 0))),
        hashed(pseudopotentials={'Li': 'C9'}),
        hashed(efg=False),
        hashed(rung_parameters(base, LADDER[1])),
    ]
    assert len({hashed(), *different}) == 6


def test_each_rung_starts_from_the_first_attempt_and_allows_more_cycles():
    first = {'PARAM': {'max_scf_cycles': 60, 'metals_method': 'dm', 'nextra_bands': 4, 'cut_off_energy': 500}}
    rungs = [rung_parameters(first, rung)['PARAM'] for rung in LADDER]
    assert [rung['max_scf_cycles'] for rung in rungs] == [120, 180, 180]
    assert rungs[0]['mix_charge_amp'] == 0.2 and 'fix_occupancy' not in rungs[0]
    assert rungs[1]['fix_occupancy'] is False and 'nextra_bands' not in rungs[1]
    assert rungs[2]['elec_method'] == 'edft' and 'metals_method' not in rungs[2] and 'mix_charge_amp' not in rungs[2]
    assert all(rung['cut_off_energy'] == 500 for rung in rungs)


def test_a_structure_is_told_by_its_content(structure):
    rounded = structure.copy()
    rounded.positions = np.round(rounded.positions, 8) + 1e-9
    assert structure_sha256(rounded) == structure_sha256(structure)
    # half-way between two positions that a file can hold: told as the file tells it
    between = structure.copy()
    between.positions[0] = [0.123456785, 1.000000015, -2.500000025]
    rounded.positions[:] = [[float(f'{x:.8f}') for x in row] for row in between.positions]
    assert structure_sha256(rounded) == structure_sha256(between)
    moved, other, open_ = structure.copy(), structure.copy(), structure.copy()
    moved.positions[0, 0] += 1e-4
    other.numbers[0] = 34
    open_.pbc = (True, True, False)
    assert len({structure_sha256(a) for a in (structure, moved, other, open_, structure[::-1])}) == 5


@needs('castep_magres')
def test_ethanol_agrees_with_the_table_beside_it():
    atoms = read_magres(FOLDER / 'castep_magres' / 'ethanol.magres')
    table = (FOLDER / 'castep_magres' / 'ethanol_efg.dat').read_text().split('gamma\n')[1].splitlines()
    rows = {row.split()[0]: [float(x) for x in row.split()[1:3]] for row in table}
    names = [f'{label}_{number}' for label, number in zip(atoms.arrays['labels'], atoms.arrays['indices'])]
    coupling, eta = np.array([rows[name] for name in names]).T
    efg = atoms.arrays['efg']
    # in Hz, for 2H and 17O, with quadrupole moments that differ from ours in the third digit; 12C has none
    for symbol, isotope in (('H', '2H'), ('O', '17O')):
        of = atoms.symbols == symbol
        found = quadrupolar_coupling(efg[of], isotope, signed=False) * 1e3
        np.testing.assert_allclose(found, np.abs(coupling[of]), rtol=3e-3)
    np.testing.assert_allclose(asymmetry(efg), eta, atol=1e-6)


@needs('castep_magres')
def test_every_magres_file_is_read_or_refused_in_one_clear_line():
    sizes = {'ethanol': 9, 'magresview_test_efg': 2, 'nacl': 8}
    for path in sorted((FOLDER / 'castep_magres').glob('*.magres')):
        if path.stem in sizes:
            assert read_magres(path).arrays['efg'].shape == (sizes[path.stem], 3, 3)
        else:
            with pytest.raises(InputError, match='holds no EFG tensors; run CASTEP with') as refused:
                read_magres(path)
            assert '\n' not in str(refused.value)


#: Version, energy and free energy (eV), stress (GPa, diagonal) of real runs; forces vanish by symmetry in all of them.
REAL = {
    'Si_NMR_ms': ('20.11', -337.8844587940, -337.8845253725, None),
    'aiida_castep_Si-quickstart': ('19.1', -337.9095600890, -337.9095600890, None),
    'aiida_castep_Si2-castepbin': ('20.11', -215.3935145784, -215.3953463320, None),
    'matador_Li-bcc_0.1A': ('18.1', -195.8072435566, -195.8116033952, None),
    'nomad_Si2_opt': ('16.1', -210.7662319028, -210.7662319028, 0.000311),
}


@needs('castep_out')
@pytest.mark.parametrize('name', REAL)
def test_real_runs_give_energy_forces_and_stress_where_they_have_them(name):
    version, energy, free_energy, stress = REAL[name]
    run = read_castep(FOLDER / 'castep_out' / f'{name}.castep')
    assert (run.version, run.energy, run.free_energy) == (version, energy, free_energy)
    assert run.finished and run.converged and run.checkpoint and set(run.pseudopotentials) == set(run.ions.species)
    assert run.forces.shape == (len(run.ions), 3) and run.force_ions == run.ions
    np.testing.assert_array_equal(run.forces, 0)
    assert (run.stress is None) == (stress is None)
    if stress is not None:
        np.testing.assert_allclose(run.stress, stress * GPa * np.eye(3))
    structure = Atoms([name[:2] for name in run.ions.species], run.fractional @ run.cell, cell=run.cell, pbc=True)
    assert castep_label(structure, run.ions.species, run, stress=False).get_potential_energy() == energy


@needs('castep_out')
def test_a_real_run_that_was_cut_off_is_seen_as_one():
    run = read_castep(FOLDER / 'castep_out' / 'castep_outputs_test.castep')
    assert not run.finished and not run.started and run.energy is None and run.forces is None
    assert len(run.ions) == 20 and run.fractional[19].tolist() == [0.706, 0.044, 0.875]


@pytest.fixture
def relaxation(castep, structure) -> str:
    """A relaxation of two configurations with occupations that are smeared, so that every energy has three lines."""
    second = structure.copy()
    second.positions[1] += 0.4
    texts = [castep(structure=each, fix_occupancy='false')[0] for each in (structure, second)]
    both = [text.removeprefix(texts[0]) for text in texts[1:]]
    first = texts[0].replace('single point energy', 'geometry optimization').replace('Magnetic Resonance', 'geometry')
    first = first[: first.index('\nInitialisation time')]
    move = (
        '\n LBFGS: finished iteration     0 with enthalpy= -1.0E+002 eV\n LBFGS: starting iteration     1 with trial\n'
    )
    again = both[0][both[0].index('                                      Unit Cell') :]
    end = '\n LBFGS: Geometry optimization completed successfully.\n'
    return first + move + again.replace('\nInitialisation time', f'{end}\nInitialisation time')


def check_every_end(text: str, ends) -> set[int]:
    """How many labels the file gives at each end; each set of labels belongs to one configuration of the whole file."""
    whole = [section.read('whole') for section in sections(text.splitlines())]
    banner = list(re.finditer('CASTEP version.*\n', text))[-1].end()
    seen = set()
    for end in ends:
        if end < banner:
            continue
        run = parse_castep(text[:end])
        labels = [value for value in (run.energy, run.forces, run.stress) if value is not None]
        seen.add(len(labels))
        if run.energy is None:
            assert run.forces is None and run.stress is None
            continue
        (one,) = [each for each in whole if each.energy == run.energy]
        assert run.free_energy == one.free_energy
        for name in ('forces', 'stress', 'fractional', 'cell'):
            if getattr(run, name) is not None:
                np.testing.assert_array_equal(getattr(run, name), getattr(one, name))
    return seen


def test_wherever_a_file_ends_its_labels_belong_together(relaxation):
    run = parse_castep(relaxation)
    assert run.finished and run.geometry_converged and len(sections(relaxation.splitlines())) == 2
    ends = [match.end() for match in re.finditer('\n', relaxation)]
    assert check_every_end(relaxation, ends) == {0, 1, 2, 3}
    energies = relaxation.rindex('Final energy')
    assert check_every_end(relaxation, range(energies - 10, energies + 300)) == {3}  # any byte, not lines alone


def test_after_the_step_that_was_cut_the_one_before_is_given(relaxation):
    first = parse_castep(relaxation[: relaxation.index(' LBFGS')])
    cut = parse_castep(relaxation[: relaxation.rindex(' Stress Tensor ')])
    assert (cut.energy, cut.geometry_converged) == (first.energy, False)
    np.testing.assert_array_equal(cut.fractional, first.fractional)


def test_ions_that_moved_unseen_are_not_taken_from_the_step_before(relaxation):
    start = relaxation.index('            x  Element', relaxation.index('LBFGS: starting'))
    unsaid = relaxation[: relaxation.rindex('      Unit Cell')] + relaxation[relaxation.index('Files used', start) :]
    run = parse_castep(unsaid)
    assert len(run.ions) == 0 and run.energy == parse_castep(relaxation).energy


def test_a_warning_about_bands_counts_where_it_stays_to_the_end_of_the_scf(castep):
    text = castep(fix_occupancy='false')[0]
    rows = [line for line in text.splitlines(True) if re.match(r'\s+\d+ .*<-- SCF', line)]
    warning = ' Recommend using nextra_bands of 7 to 12.\n'
    assert parse_castep(text.replace(rows[1], warning + rows[1])).extra_bands is None
    assert parse_castep(text.replace(rows[-1], warning + rows[-1])).extra_bands == 12
    assert parse_castep(text.replace(rows[-1], rows[-1] + warning)).extra_bands == 12


@needs('castep_out')
@pytest.mark.parametrize('name', REAL)
def test_wherever_a_real_file_ends_its_labels_belong_together(name):
    text = (FOLDER / 'castep_out' / f'{name}.castep').read_text(encoding='utf-8', errors='replace')
    check_every_end(text, [match.end() for match in re.finditer('\n', text)])
