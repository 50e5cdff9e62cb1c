"""Calculations that take over what an equal one gave, where their run was launched again for that."""

from __future__ import annotations

import contextlib
from collections import Counter

from aiida.common.links import LinkType
from aiida.engine import CalcJob, Process
from aiida.manage.caching import enable_caching
from aiida.orm import ProcessNode, load_node

#: Extra of a run whose calculations take over what is whole.
TAKES_OVER = 'ufpnmr_takes_over'


class TakesOver(CalcJob):
    """The base of calculations that know whether the run to which they belong was launched again."""

    def on_create(self) -> None:
        """Make the node of the process, from one that is there where the run takes over what is whole."""
        parent = self._parent_pid or getattr(Process.current(), 'pid', None)
        is_relaunched = parent is not None and takes_over(load_node(parent))  # type: ignore[arg-type]  # the parent of a process is one
        with enable_caching(identifier=self.build_process_type()) if is_relaunched else contextlib.nullcontext():
            super().on_create()

    @classmethod
    def is_valid_cache(cls, node: ProcessNode) -> bool:
        """Whether others may take over what a calculation gave: not where it has an output twice."""
        return super().is_valid_cache(node) and not has_doubled_outputs(node)


def has_doubled_outputs(node: ProcessNode) -> bool:
    """Whether a calculation has an output more than once, as where two workers ran it."""
    labels = Counter(node.base.links.get_outgoing(link_type=LinkType.CREATE).all_link_labels())
    return max(labels.values(), default=0) > 1


def takes_over(node: ProcessNode) -> bool:
    """Whether a process belongs to a run whose calculations take over what is whole."""
    root: ProcessNode | None = node
    while root is not None:
        if root.base.extras.get(TAKES_OVER, False):
            return True
        root = root.caller
    return False
