"""Keywords of a CASTEP run that makes labels: which are its own, which change a number, and which help the SCF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida_ufpnmr.engine.dft.identity import settings_sha256

#: Keywords that the run sets itself, and why none else may.
OWN = {
    'PARAM': {
        'task': 'the run needs it',
        'magres_task': 'the run needs it',
        'calculate_stress': 'the run needs it',
        'continuation': 'restarts set it',
        'reuse': 'restarts set it',
        'stop': 'the run would end before it began',
        'energy_unit': 'the output is read in eV',
        'force_unit': 'the output is read in eV/Å',
        'pressure_unit': 'the output is read in GPa',
        'length_unit': 'the output is read in Å',
    },
    'CELL': {
        **dict.fromkeys(('lattice_cart', 'lattice_abc', 'positions_abs', 'positions_frac'), 'the structure gives it'),
        **dict.fromkeys(
            ('kpoints_mp_grid', 'kpoint_mp_grid', 'kpoints_mp_spacing', 'kpoint_mp_spacing', 'kpoints_mp_offset',
             'kpoint_mp_offset', 'kpoints_list', 'kpoint_list', 'bs_kpoint_list'), 'the k-points give it'
        ),
        'species_pot': 'the pseudopotentials give it',
        'snap_to_symmetry': 'it moves the atoms',
    },
}  # fmt: skip

#: Keywords that decide how the ground state is found or what is printed, and not which it is.
WITHOUT_EFFECT = frozenset(
    {
        'max_scf_cycles', 'elec_method', 'metals_method', 'mixing_scheme', 'mix_history_length', 'mix_charge_amp',
        'mix_charge_gmax', 'mix_spin_amp', 'mix_spin_gmax', 'mix_cut_off_energy', 'max_sd_steps', 'max_cg_steps',
        'nextra_bands', 'perc_extra_bands',
        'num_dump_cycles', 'opt_strategy', 'opt_strategy_bias', 'page_wvfns', 'data_distribution', 'rand_seed',
        'num_proc_in_smp', 'run_time', 'backup_interval', 'num_backup_iter', 'write_checkpoint', 'iprint', 'comment',
        'popn_calculate', 'calc_full_ewald', 'print_clock', 'print_memory_usage',
    }
)  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """One step of the ladder that a run climbs whose SCF does not converge.

    Attributes:
        name: what is done, in words.
        changes: keywords of the .param file.
        drops: keywords that would contradict them.
        cycles: by how much more SCF cycles are allowed than in the first attempt.
    """

    name: str
    changes: Mapping[str, Any]
    drops: tuple[str, ...]
    cycles: float


#: Occupations that need not be whole, with room for them.
SMEARED = {'fix_occupancy': False, 'smearing_width': '0.1 eV', 'perc_extra_bands': 30}

#: From the cheap to the costly. Smearing comes second to last because it may change the ground state; a set that was
#: labelled with it has other settings, and says so.
LADDER = (
    Rung('softer mixing', {'mix_charge_amp': 0.2, 'mix_history_length': 7}, (), 2),
    Rung(
        'softer mixing, smeared occupations',
        {'mix_charge_amp': 0.2, 'mix_history_length': 7, **SMEARED},
        ('nextra_bands',),
        3,
    ),
    Rung(
        'all bands at once (EDFT), smeared occupations',
        {'elec_method': 'edft', **SMEARED},
        ('nextra_bands', 'metals_method', 'mix_charge_amp', 'mix_history_length'),
        3,
    ),
)  # fmt: skip

#: CASTEP's own default of ``max_scf_cycles``.
DEFAULT_CYCLES = 30


def normalised(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``PARAM`` and ``CELL`` in capitals, keywords in lower case, both always there."""
    result: dict[str, dict[str, Any]] = {'PARAM': {}, 'CELL': {}}
    for section, keywords in parameters.items():
        result.setdefault(str(section).upper(), {}).update({str(k).lower(): v for k, v in keywords.items()})
    return result


def refusal(parameters: Mapping[str, Any]) -> str | None:
    """Reason for refusing these keywords, or ``None``."""
    for section, keywords in parameters.items():
        if str(section).upper() not in OWN:
            return f'unknown section {section!r}; keywords stand under PARAM or CELL'
        if not isinstance(keywords, Mapping):
            return f'{section} must hold "keyword: value" entries'
        for keyword in keywords:
            reason = OWN[str(section).upper()].get(str(keyword).lower())
            if reason is not None:
                return f'{section}: {keyword} cannot be given, since {reason}'
    return None


def rung_parameters(parameters: Mapping[str, Mapping[str, Any]], rung: Rung) -> dict[str, dict[str, Any]]:
    """The keywords of the first attempt, changed as the rung says."""
    result = normalised(parameters)
    cycles = int(result['PARAM'].get('max_scf_cycles', DEFAULT_CYCLES))
    kept = {key: value for key, value in result['PARAM'].items() if key not in rung.drops}
    result['PARAM'] = {**kept, **rung.changes, 'max_scf_cycles': round(cycles * rung.cycles)}
    return result


def with_extra_bands(parameters: Mapping[str, Mapping[str, Any]], number: int) -> dict[str, dict[str, Any]]:
    """The keywords with so many empty bands."""
    result = normalised(parameters)
    result['PARAM'].pop('perc_extra_bands', None)
    result['PARAM']['nextra_bands'] = number
    return result


def fixes_occupations(param: Mapping[str, Any]) -> bool:
    """Test that keywords of the .param file make bands either full or empty; CASTEP's default does not."""
    return str(param.get('fix_occupancy', False)).strip().lower() in ('true', 't', '.true.')


def label_settings(
    parameters: Mapping[str, Mapping[str, Any]],
    mesh: list,
    pseudopotentials: Mapping[str, str],
    efg: bool,
    kinds: Sequence[str] = (),
) -> dict[str, Any]:
    """All that decides about the numbers of a label, made of what JSON knows.

    Args:
        parameters: keywords.
        mesh: of k-points, with its offset, or the points with their weights.
        pseudopotentials: by species.
        efg: whether EFG tensors are asked for.
        kinds: of each site, where some element has several.
    """
    keywords = {
        section: {
            key: value for key, value in entries.items() if key not in WITHOUT_EFFECT and not key.startswith('write_')
        }
        for section, entries in normalised(parameters).items()
    }
    settings = {'parameters': keywords, 'kpoints': mesh, 'pseudopotentials': dict(pseudopotentials), 'efg': efg}
    return {**settings, 'kinds': list(kinds)} if kinds else settings


def castep_settings_sha256(settings: Mapping[str, Any]) -> str:
    """Hash of :func:`label_settings`."""
    return settings_sha256('castep', settings)
