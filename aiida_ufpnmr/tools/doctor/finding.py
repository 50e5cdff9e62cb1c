"""What a look at a profile finds wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with what helps.

    Attributes:
        kind: a name for programs, such as ``lost-process``.
        subject: what it is about, as one would call it: a process with its pk, a job, a code, a folder.
        message: what is wrong with it.
        remedy: what to do.
        pks: nodes that it is about.
        needs_stop: the daemon has to be down for the repair.
        job: where it is a job: the pk of the computer, and the number that its scheduler gave it.
    """

    kind: str
    subject: str
    message: str
    remedy: str
    pks: tuple[int, ...] = ()
    needs_stop: bool = False
    job: tuple[int, str] | None = None

    @property
    def line(self) -> str:
        """The finding as one line."""
        return f'{self.subject}: {self.message}; {self.remedy}'


#: The remedy of what ``--repair`` does.
REPAIR = 'run "aiida-ufpnmr doctor --repair"'
