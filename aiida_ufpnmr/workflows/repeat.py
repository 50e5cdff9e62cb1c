"""Calculations that are repeated where they were cut off: the fits, the choice of what to label, the analyses."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport, WorkChain, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import CalcJobNode

from aiida_ufpnmr.calculations.analyse import AcfCalculation, AnalyseCalculation
from aiida_ufpnmr.calculations.draw import DrawCalculation
from aiida_ufpnmr.calculations.fit_efg import FitEfgCalculation
from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.calculations.fit_softness import FitSoftnessCalculation
from aiida_ufpnmr.calculations.select import SelectCalculation
from aiida_ufpnmr.calculations.softness import SoftnessCorrelationsCalculation, SoftnessOnsetCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.workflows.calls_once import CallsOnce
from aiida_ufpnmr.workflows.restart import RestartWorkChain
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason

#: Exit codes that all of these calculations share.
CODES = AnalyseCalculation.exit_codes
#: Attempts that are cut off before the calculation is given up.
MOST_ATTEMPTS = 3


class RepeatWorkChain(RestartWorkChain):
    """Runs a calculation from its beginning again where it was cut off.

    Equal inputs give equal outputs, so the result is the one that an undisturbed calculation would have had.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        expose_inputs(spec, cls._process_class, cls.NAMESPACE, (), 'The attempts.')
        spec.expose_outputs(cls._process_class, exclude=('remote_folder', 'remote_stash', 'retrieved'))
        spec.exit_code(420, 'ERROR_CUT_OFF', message=f'Cut off {MOST_ATTEMPTS} times: {{message}}')

    @process_handler(
        priority=300,
        exit_codes=[
            CODES.ERROR_INTERRUPTED,
            CODES.ERROR_NO_RESULTS,
            CODES.ERROR_OUTPUT_UNUSABLE,
            CODES.ERROR_SCHEDULER_NODE_FAILURE,
            CODES.ERROR_NO_RETRIEVED_FOLDER,
        ],
    )
    def handle_cut_off(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Run the same again, up to :data:`MOST_ATTEMPTS` times, where the job was killed or its files were lost."""
        if self.ctx.iteration >= MOST_ATTEMPTS:
            return self.give_up(node, self.exit_codes.ERROR_CUT_OFF)
        return self.try_again(node, 'the same again')

    @process_handler(priority=100)
    def handle_unrecoverable(self, node: CalcJobNode) -> ProcessHandlerReport | None:
        """Give up, whatever else went wrong, since no change could help."""
        return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE) if node.is_failed else None


class FitPotentialWorkChain(RepeatWorkChain):
    """Fits an ultra-fast potential, again where a fit was cut off."""

    _process_class = FitPotentialCalculation


class FitEfgWorkChain(RepeatWorkChain):
    """Fits a model of the EFG, again where a fit was cut off."""

    _process_class = FitEfgCalculation


class DrawWorkChain(RepeatWorkChain):
    """Draws the first structures of a material to label, again where that was cut off."""

    _process_class = DrawCalculation


class SelectWorkChain(RepeatWorkChain):
    """Chooses the structures whose labels would tell the models most, again where that was cut off."""

    _process_class = SelectCalculation


class AcfWorkChain(RepeatWorkChain):
    """Correlation functions along a trajectory, again where that was cut off."""

    _process_class = AcfCalculation


class AnalyseWorkChain(RepeatWorkChain):
    """Any other analysis of a trajectory, again where that was cut off."""

    _process_class = AnalyseCalculation


class FitSoftnessWorkChain(RepeatWorkChain):
    """Fits a softness model, again where a fit was cut off."""

    _process_class = FitSoftnessCalculation


class SoftnessOnsetWorkChain(RepeatWorkChain):
    """Barriers by softness and the onset temperature, again where that was cut off."""

    _process_class = SoftnessOnsetCalculation


class SoftnessCorrelationsWorkChain(RepeatWorkChain):
    """What soft ions have around them, again where that was cut off."""

    _process_class = SoftnessCorrelationsCalculation


class FitsModels(CallsOnce, WorkChain):
    """The steps of WorkChains that fit models to labels, side by side."""

    #: Chain of each fit by its name, and the outputs for the model and its errors on withheld structures.
    FITS: ClassVar[dict[str, tuple[type[RepeatWorkChain], str, str]]] = {
        'fit_potential': (FitPotentialWorkChain, 'potential', 'potential_errors'),
        'fit_efg': (FitEfgWorkChain, 'efg_model', 'efg_errors'),
    }

    def submit_fits(self, dataset: DatasetData, **inputs: Any) -> dict[str, Any]:
        """Submit the fits that are asked for, with ``inputs`` of the chains; the running processes by name."""
        running = {}
        for name, (chain, _, _) in self.FITS.items():
            if self.inputs.get(name):
                calculation = AttributeDict(self.exposed_inputs(chain._process_class, name))
                calculation.dataset = dataset
                if 'test_dataset' in self.inputs:
                    calculation.test_dataset = self.inputs.test_dataset
                metadata = {'call_link_label': name}
                running[name] = self.submit(chain, calculation=calculation, metadata=metadata, **inputs)
        return running

    def attach_fits(self) -> dict[str, str]:
        """Attach the models of the fits that ended well, and their errors; the reasons of the others by name."""
        failures = {}
        for name, (_, model, errors) in self.FITS.items():
            node = self.ctx.get(name)
            if node is None:
                continue
            if node.is_finished_ok:
                self.out(model, node.outputs[model])
                self.out(errors, node.outputs.results)
            else:
                failures[name] = reason(node)
        return failures
