"""What a workflow calls under a name is there once, however often the step that calls it is begun."""

from __future__ import annotations

from typing import Any

from aiida.engine import Process
from aiida.orm import ProcessNode

from aiida_ufpnmr.workflows.subprocesses import end_as_killed


class CallsOnce(Process):
    """A WorkChain that takes up what a step of it has called before a stop of the daemon cut that step off.

    AiiDA notes where a WorkChain stands between its steps, so a step that was cut off is begun anew; what it had
    submitted would be submitted a second time.
    """

    def submit(self, process: type[Process], inputs: dict[str, Any] | None = None, **kwargs: Any) -> ProcessNode:
        """Submit a process under its ``call_link_label``, or take up the one that was submitted under it."""
        label = {**(inputs or {}), **kwargs}.get('metadata', {}).get('call_link_label')
        outgoing = self.node.base.links.get_outgoing
        for link in outgoing(node_class=ProcessNode, link_label_filter=label).all() if label else ():
            if link.link_label == label:  # the filter is a pattern, in which _ is any letter
                node: Any = link.node
                if node.is_terminated or node.checkpoint is not None:
                    return node
                # stored, but cut off before its first checkpoint, from which alone it could be run
                end_as_killed(node, 'Cut off before it began; another was submitted in its place.')
        return super().submit(process, inputs, **kwargs)
