"""Runs of molecular dynamics as the options of a command ask for them; the kernels take a while to import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from ase import Atoms

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.dataset import read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.md.output import Output, frame_cadence
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.run import md_requests, run_md
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.md.watches import GradeWatch, UnitWatch
from aiida_ufpnmr.engine.settings import values_of
from aiida_ufpnmr.engine.signals import on_request_to_end
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


def one_run(options: dict, origin: Path | None = None) -> dict:
    """One run; the options are those of the command line."""
    potential, atoms = _inputs(options)
    efg = efg_output(options, atoms)
    compiled.aloud = True
    simulation = Simulation(atoms, potential, **_conditions(options))
    return run_with_options(simulation, options['output'], options['steps'], options, efg, origin)


def runs_on_gpu(runs: Sequence[dict], origin: Path | None = None) -> list[dict]:
    """Runs that differ in output, seed and temperature alone, at the same time."""
    try:
        from aiida_ufpnmr.engine.gpu.device import check_gpu, on_gpu
        from aiida_ufpnmr.engine.gpu.simulation import GpuSimulation
    except ImportError as error:
        raise InputError(f'--device gpu needs more software ({error}): pip install "aiida-ufpnmr[gpu]"') from None
    check_gpu()
    potential, atoms = _inputs(runs[0])
    efg = efg_output(runs[0], atoms)
    compiled.aloud = True
    simulations = [GpuSimulation(atoms, potential, **_conditions(options)) for options in runs]
    efg_every = runs[0]['efg_every'] or runs[0]['every'] or frame_cadence(simulations[0].timestep_fs)
    replicas = on_gpu(simulations, efg, efg_every)
    if efg is not None and replicas.efg is efg:
        click.echo(
            f'{runs[0]["efg_model"]}: the processor predicts its tensors, since a GPU knows linear models (zeta 1) of '
            'moderate size without charges',
            err=True,
        )
    end_requests: list[bool] = []
    requests = partial(md_requests, end_requests=end_requests)
    with on_request_to_end(lambda: end_requests.append(True)):
        results = replicas.write(
            [
                partial(
                    run_with_options, path=run['output'], steps=run['steps'], options=run, efg=replicas.efg,
                    origin=origin,
                    run=requests,
                )
                for run in runs
            ],
            end_requests,
        )  # fmt: skip
    for result in results:
        result['timing']['cpu_s'] /= len(runs)  # of a process that they share
    return results


def _inputs(options: dict) -> tuple[UltraFastPotential, Atoms]:
    """The potential and the structure."""
    potential = UltraFastPotential.load(options['potential'])
    atoms = read_structure(options['structure'], options['index'])
    return potential, atoms if options['supercell'] == (1, 1, 1) else atoms.repeat(options['supercell'])


def _conditions(options: dict) -> dict:
    """Arguments of a simulation."""
    return {
        'first_step': -options['equilibrate'],
        'ramp_steps': 0 if options['final_temperature'] is None else options['steps'],
        'source': str(options['structure']),
        **values_of(MdSettings, options),
    }


def run_with_options(
    simulation: Simulation,
    path: Path,
    steps: int,
    options: dict,
    efg: EfgOutput | None,
    origin: Path | None = None,
    run: Callable[..., Any] = run_md,
) -> Any:
    """:func:`run_md`, or what runs in its place, as the options of ``RUN_OPTIONS`` ask for it."""
    every = options['every'] or frame_cadence(simulation.timestep_fs)
    output = Output(**{**values_of(Output, options), 'every': every}, storage=Storage(**values_of(Storage, options)))
    return run(
        simulation,
        path,
        steps,
        output,
        efg=efg,
        grade_watch=_grade_watch(simulation.potential, values_of(GradeWatch, options)),
        unit_watch=UnitWatch(**values_of(UnitWatch, options)),
        checkpoint_every=options['checkpoint_every'],
        max_wall_time_s=options['max_wall_time'],
        origin=origin,
        restart=options['restart'],
        overwrite=options['overwrite'],
    )


def efg_output(options: dict, atoms: Atoms) -> EfgOutput | None:
    """The EFG tensors that options ask for; a model that has nothing to do with the atoms is refused."""
    path = options['efg_model']
    if path is None:
        return None
    from aiida_ufpnmr.engine.efg.model import EfgModel  # takes a while to import

    model = EfgModel.load(path)
    if not len(model.ions(atoms.numbers)):
        raise InputError(f'{path}: predicts EFG tensors of {model.species}, of which the structure has none')
    if options['efg_uncertainty_every'] and model.posterior is None:
        raise InputError(
            f'{path}: holds no posterior, so expected errors are not known; leave out '
            '--efg-uncertainty-every, or fit it '
            'again without --no-posterior'
        )
    return EfgOutput.of(model, atoms, content_hash(path))


def _grade_watch(potential: UltraFastPotential, values: dict) -> GradeWatch | None:
    """The watch that was asked for; by default one where the potential has a posterior."""
    asked = {name: value for name, value in values.items() if value is not None}
    if potential.posterior is None:
        if any(asked.values()):
            raise InputError(
                f'{potential.source}: holds no posterior, so no extrapolation grade is known; leave out --grade-every '
                'and --grade-limit, or fit it again without --no-posterior'
            )
        return None
    watch = GradeWatch(**asked)
    return watch if watch.every else None
