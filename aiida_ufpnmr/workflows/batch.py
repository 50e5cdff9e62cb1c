"""Many runs as one batch: small ones packed several to a job, some jobs at a time, none twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import CalcJob, ExitCode, WorkChain, while_
from aiida.engine.processes.workchains.awaitable import Awaitable
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import Dict, Float, Int, List, ProcessNode, RemoteData, StructureData, load_node
from plumpy import ProcessState

from aiida_ufpnmr.calculations.base import plain_input
from aiida_ufpnmr.calculations.md_pack import MdPackCalculation
from aiida_ufpnmr.calculations.resources import IN_QUEUE, jobs_at_a_time, processes_on_one_machine, starts_at_once
from aiida_ufpnmr.workflows import batch_plan, wall_time
from aiida_ufpnmr.workflows.batch_plan import Run
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.subprocesses import clean_working_directories, reason
from aiida_ufpnmr.workflows.supercell import repetitions

#: Replicas of a run that a batch takes; more can only be a mistake.
MOST_REPLICAS = 10_000
#: What the call links of packs begin with.
PACK = 'pack_'
#: Packs that share out a batch among the cores of a machine take no less time than this, s: each costs some seconds.
LEAST_SHARE_S = 60.0
#: Jobs of packs that give nothing before the runs in them are submitted one by one.
MOST_LOST = 2


def at_least(least: float, most: float = float('inf')) -> Any:
    """A validator of numbers."""

    def validate(value: Any, _: object) -> str | None:
        if least <= value.value <= most:
            return None
        return f'must be at least {least:g}' + (f' and at most {most:g}' if most < float('inf') else '')

    return validate


def validate_temperatures(value: List, _: object) -> str | None:
    """Refuse what is no temperature, none at all, and one that is given twice."""
    temperatures = value.get_list()
    if not temperatures or not all(type(one) in (int, float) and 0 < one < float('inf') for one in temperatures):
        return f'temperatures must be numbers above zero, in K, not {temperatures}'
    if len(set(temperatures)) < len(temperatures):
        return f'temperatures must each be given once, not {temperatures}; "replicas" repeats them'
    return None


class BatchWorkChain(ProtocolMixin, WorkChain):
    """The steps of workflows that make one run for each structure, temperature and replica.

    A run that has ended well before, in whatever batch, is taken up and not made again. Runs whose estimated time is
    short go several to a job. One that fails stops no other.
    """

    #: The workflow of each run, and its output that is the answer.
    RUN: ClassVar[type[WorkChain]]
    ANSWER: ClassVar[str]
    #: A calculation that makes all of a run, with the same outputs, if there is one.
    JOB: ClassVar[type[CalcJob] | None] = None
    #: Other outputs of runs that the batch passes on, by the namespace that they get.
    MORE_OUTPUT: ClassVar[dict[str, str]] = {}
    BATCH_ARGUMENTS = ('temperatures_K', 'replicas')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        text = 'Temperatures of the runs, K; they take the place of `md.parameters`.'
        plain_input(spec, 'temperatures_K', List, text, validator=validate_temperatures)
        text = (
            'Runs at each temperature. The seed of `md.parameters` is that of the first run; each other has the next.'
        )
        plain_input(spec, 'replicas', Int, text, default=1, validator=at_least(1, MOST_REPLICAS))
        text = (
            f'Runs, or packs of them, that are submitted at a time. By default {IN_QUEUE}, or where jobs start at once '
            'as many as the machine has cores for.'
        )
        plain_input(spec, 'most_at_once', Int, text, required=False, validator=at_least(1))
        text = (
            'Runs are packed into a job until their estimated time on its cores reaches this, in s; 0 for one run a '
            'job. It is kept below half of the time limit of a job; without one, a scheduler is asked for what the '
            'runs should need. Runs on a GPU are not packed.'
        )
        plain_input(spec, 'pack_to_s', Float, text, default=1800.0, validator=at_least(0))
        text = 'Share of the runs that must end well; with 0 one does.'
        plain_input(spec, 'min_success_fraction', Float, text, default=0.0, validator=at_least(0, 1))
        spec.outline(
            cls.take_up, while_(cls.is_left)(cls.submit_next, cls.look_at_ended), cls.inspect_runs, *cls.after_runs()
        )
        spec.output_namespace('runs', dynamic=True, valid_type=Dict, help='The answer of each run, by its label.')
        spec.exit_code(401, 'ERROR_SUB_PROCESSES_FAILED', message='No run has an answer: {message}')
        text = 'The answers of the runs that ended well are there, but these are too few: {message}'
        spec.exit_code(502, 'ERROR_TOO_FEW_ENDED_WELL', message=text)

    @classmethod
    def after_runs(cls) -> tuple[Any, ...]:
        """Steps of the outline after all runs have ended."""
        return ()

    @classmethod
    def structures_of(cls, inputs: Mapping[str, Any]) -> dict[str, StructureData]:
        """The structures of a batch with these inputs, by name."""
        return dict(inputs['structures'])

    @classmethod
    def plan(cls, inputs: Mapping[str, Any]) -> dict[str, Run]:
        """The runs of a batch with these inputs, by label."""
        seed = inputs['md']['parameters'].get_dict().get('seed', 0)
        temperatures = inputs['temperatures_K'].get_list()
        runs = batch_plan.planned(cls.structures_of(inputs), temperatures, inputs['replicas'].value, seed)
        return {run.label: run for run in runs}

    @classmethod
    def parameters_of(cls, inputs: Mapping[str, Any], run: Run) -> dict[str, Any]:
        """Parameters of the dynamics of a run."""
        given = inputs['md']['parameters'].get_dict()
        height = inputs.get('min_cell_height_angstrom')
        if height is not None and 'supercell' not in given:
            cell = cls.structures_of(inputs)[run.structure].cell
            given['supercell'] = repetitions(cell, height.value)
        return {**given, 'temperature': run.temperature_K, 'seed': run.seed}

    @classmethod
    def inputs_of(cls, inputs: Mapping[str, Any], run: Run) -> dict[str, Any]:
        """The inputs of :attr:`RUN` for a run of a batch with these inputs."""
        raise NotImplementedError

    @classmethod
    def identity_of(cls, inputs: Mapping[str, Any], run: Run) -> str:
        """What a run of a batch with these inputs has in common with all that are the same."""
        return batch_plan.identity(cls.RUN.__name__, cls.inputs_of(inputs, run))

    @classmethod
    def identities(cls, inputs: Mapping[str, Any]) -> dict[str, str]:
        """The identity of each run, by its label."""
        return {label: cls.identity_of(inputs, run) for label, run in cls.plan(inputs).items()}

    def take_up(self) -> None:
        """Take what has ended well before; all other runs wait."""
        identities = self.identities(self.inputs)
        before = batch_plan.ended_well(list(identities.values()), self.JOB)
        self.ctx.runs = {label: before[one] for label, one in identities.items() if one in before}
        self.ctx.waiting = [label for label in identities if label not in self.ctx.runs]
        self.ctx.folders, self.ctx.running, self.ctx.packs, self.ctx.lost = {}, {}, {}, {}
        self.ctx.speed = batch_plan.speed_of(self.inputs.potential, self.inputs.get('efg_model'))
        self.ctx.share_s = self._share_s()
        self.report(f'{len(self.ctx.runs)} of {len(identities)} runs have ended well before')

    def is_left(self) -> bool:
        """Whether runs wait, or have not ended."""
        return bool(self.ctx.waiting or self.ctx.folders or self.ctx.running)

    def submit_next(self) -> None:
        """Submit runs or packs of runs up to the limit, those first that a pack has brought to their end."""
        plan = self.plan(self.inputs)
        at_a_time = self.inputs.get('most_at_once', 0) or jobs_at_a_time(self.inputs.md)
        while len(self.ctx.running) < at_a_time and (self.ctx.folders or self.ctx.waiting):
            if self.ctx.folders:
                label = next(iter(self.ctx.folders))
                self._submit_run(plan[label], self.ctx.folders.pop(label))
                continue
            goal_s = min(self._goal_s(), self.ctx.share_s)
            labels = batch_plan.pack(self.ctx.waiting, lambda label: self._seconds(plan[label]), goal_s)
            if self.ctx.lost.get(labels[0], 0) >= MOST_LOST:
                labels = labels[:1]
            self.ctx.waiting = self.ctx.waiting[len(labels) :]
            if len(labels) == 1:
                self._submit_run(plan[labels[0]])
            else:
                self._submit_pack([plan[label] for label in labels])
        for pk in self.ctx.running.values():
            self.to_context(ended=_process(pk))

    def _goal_s(self) -> float:
        """Time on one core that the runs of a pack may take together."""
        options = self.inputs.md.metadata.options
        goal = self.inputs.pack_to_s.value * (self.inputs.md.parameters.get_dict().get('device', 'cpu') == 'cpu')
        most = wall_time.MOST if wall_time.is_limited_by_size(options, self.inputs.md.code) else float('inf')
        return min(goal, options.get('max_wallclock_seconds', most) / 2) * processes_on_one_machine(options.resources)

    def _share_s(self) -> float:
        """Time on one core that a pack may take where jobs start at once: all cores of the machine shall have some."""
        if not starts_at_once(self.inputs.md.code):
            return float('inf')
        plan = self.plan(self.inputs)
        seconds = sum(self._seconds(plan[label]) for label in self.ctx.waiting)
        return max(LEAST_SHARE_S, seconds / jobs_at_a_time(self.inputs.md))

    def _seconds(self, run: Run, speed: float | None = None) -> float:
        structure = self.structures_of(self.inputs)[run.structure]
        return batch_plan.seconds_of(structure, self.parameters_of(self.inputs, run), speed or self.ctx.speed)

    def _options(self, runs: list[Run], threads: int = 1) -> dict[str, Any]:
        """Options of a job of runs with so many threads each: a scheduler is asked for time, where none is given.

        That goes by the usual speed, or by that of the potential where it is known to be slower.
        """
        options = dict(self.inputs.md.metadata.options)
        if wall_time.is_limited_by_size(options, self.inputs.md.code):
            seconds = [self._seconds(run, min(self.ctx.speed, wall_time.SPEED)) / threads for run in runs]
            longest = wall_time.makespan_s(seconds, processes_on_one_machine(options['resources']))
            options['max_wallclock_seconds'] = wall_time.limit_s(longest)
        return options

    def _submit_run(self, run: Run, folder: str | None = None) -> None:
        """Submit a run; where a pack has left its files in ``folder``, these are taken up."""
        identity, inputs = self.identity_of(self.inputs, run), self.inputs_of(self.inputs, run)
        parameters = inputs['md']['parameters'].get_dict()
        if self.inputs.pack_to_s.value:  # as in a pack, so that a run has the same bits in one and alone
            parameters = {'threads': 1, **parameters}
            inputs['md']['parameters'] = Dict(parameters)
        threads = parameters.get('threads') or processes_on_one_machine(self.inputs.md.metadata.options.resources)
        inputs['md']['metadata'] = {**inputs['md']['metadata'], 'options': self._options([run], threads)}
        if folder is not None:
            inputs['md']['remote_folder'] = RemoteData(remote_path=folder, computer=inputs['md']['code'].computer)
        self._submit(self.RUN, run.label, inputs, identity, str(run))

    def _submit_pack(self, runs: list[Run]) -> None:
        """Submit a job of several runs."""
        structures = self.structures_of(self.inputs)
        shared = self.inputs.md.parameters.get_dict()
        entries = {run.label: {'structure': _name(run), **self.parameters_of(self.inputs, run)} for run in runs}
        for entry in entries.values():
            for name in [name for name, value in entry.items() if name in shared and value == shared[name]]:
                del entry[name]
        options = {**self._options(runs), 'parser_name': MdPackCalculation.ENTRY_POINT}
        inputs = {
            'code': self.inputs.md.code,
            'metadata': {'options': options},
            **{name: self.inputs[name] for name in ('potential', 'efg_model') if name in self.inputs},
            'structures': {_name(run): structures[run.structure] for run in runs},
            'shared': Dict(shared),
            'runs': Dict(entries),
        }
        label = f'{PACK}{len(self.ctx.packs) + 1:03d}'
        self.ctx.packs[label] = [run.label for run in runs]
        self._submit(MdPackCalculation, label, inputs, '', f'{runs[0].label} to {runs[-1].label}')

    def _submit(self, process: Any, link: str, inputs: dict[str, Any], label: str, words: str) -> None:
        """Submit a process; it runs until the batch has seen it ended."""
        inputs['metadata'] = {**inputs.get('metadata', {}), 'call_link_label': link, 'label': label}
        node = self.submit(process, **inputs)
        self.ctx.running[link] = node.pk
        self.report(f'{link} <{node.pk}>: {words}')

    def look_at_ended(self) -> None:
        """Note the runs that have ended; those of packs that have ended are taken up next."""
        for link, pk in list(self.ctx.running.items()):
            node = _process(pk)
            if not node.is_terminated:
                continue
            del self.ctx.running[link]
            if link in self.ctx.packs:
                self._look_at_pack(link, node)
            else:
                self.ctx.runs[link] = pk
                if not node.is_finished_ok:
                    self.report(f'{link} ({self.plan(self.inputs)[link]}) failed: {reason(node)}')
                self._clean_pack_of(link)

    def _look_at_pack(self, pack: str, node: ProcessNode) -> None:
        """Take up the runs that have begun; the others wait again."""
        states = node.outputs.results.get_dict()['runs'] if 'results' in node.outputs else {}
        labels = self.ctx.packs[pack]
        begun = [label for label in labels if states.get(label, {}).get('state', 'waiting') != 'waiting']
        left = [label for label in labels if label not in begun]
        for label in begun:
            self.ctx.folders[label] = f'{node.get_remote_workdir()}/{label}'
        if left:
            self.report(f'{len(left)} of {len(labels)} runs of {pack} wait again: {reason(node)}')
            self.ctx.packs[pack] = begun
            self.ctx.waiting = [*left, *self.ctx.waiting]
            if not begun:
                self.ctx.lost.update({label: self.ctx.lost.get(label, 0) + 1 for label in left})

    def _clean_pack_of(self, label: str) -> None:
        """Remove the working directory of a pack whose runs have all ended well."""
        pack = next((name for name, labels in self.ctx.packs.items() if label in labels), None)
        if pack is None or not self.inputs.clean_workdir or not set(self.ctx.packs[pack]) <= set(self.ctx.runs):
            return
        if all(_process(self.ctx.runs[one]).is_finished_ok for one in self.ctx.packs[pack]):
            called: Any = self.node.base.links.get_outgoing(link_label_filter=pack).all_nodes()
            clean_working_directories(called)

    def inspect_runs(self) -> ExitCode | None:
        """Attach the answers; runs without one are left out."""
        failures = []
        for label in self.plan(self.inputs):
            node = _process(self.ctx.runs[label])
            if self.ANSWER not in node.outputs:
                failures.append(f'{label}: {reason(node)}')
                continue
            for namespace, output in {'runs': self.ANSWER, **self.MORE_OUTPUT}.items():
                self.out(f'{namespace}.{label}', node.outputs[output])
        total = len(self.ctx.runs)
        if len(failures) == total:
            return self.exit_codes.ERROR_SUB_PROCESSES_FAILED.format(message=failures[0])
        if total - len(failures) < self.inputs.min_success_fraction.value * total:
            message = f'{total - len(failures)} of {total}; {"; ".join(failures)}'
            return self.exit_codes.ERROR_TOO_FEW_ENDED_WELL.format(message=message)
        return None

    def _on_awaitable_finished(self, awaitable: Awaitable) -> None:
        """Go on as soon as one of the processes has ended; a WorkChain would wait for all of them."""
        self._watched.discard(awaitable.pk)
        if self.state == ProcessState.WAITING and any(one.pk == awaitable.pk for one in self._awaitables):
            self._awaitables = [one for one in self._awaitables if one.pk != awaitable.pk]
            self.resume()

    def _action_awaitables(self) -> None:
        """Have each process watched once, although each step waits for it again."""
        waited_for = self._awaitables
        self._awaitables = [one for one in waited_for if one.pk not in self._watched]
        super()._action_awaitables()
        self._watched.update(one.pk for one in self._awaitables)
        self._awaitables = waited_for

    @property
    def _watched(self) -> set[int]:
        """Processes that this instance has had watched; one that is loaded again begins anew."""
        return self.__dict__.setdefault('_have_watched', set())


def _process(pk: int) -> ProcessNode:
    node: Any = load_node(pk)
    return node


def _name(run: Run) -> str:
    """Name of the structure of a run among the inputs of a pack."""
    return run.structure or 'structure'
