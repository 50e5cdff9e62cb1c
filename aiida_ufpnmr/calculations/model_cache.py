"""Models on a computer, each content once: jobs link to it, and it is uploaded for the first of them alone."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

from aiida.common import CalcInfo
from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, SinglefileData

from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.softness_model import SoftnessModelData

if TYPE_CHECKING:
    from aiida.transports import Transport

#: The folder in the work directory of a computer. It may be removed whenever no job waits or runs.
FOLDER = 'ufpnmr-models'
MODELS = (PotentialData, EfgModelData, SoftnessModelData)


async def link_models(node: CalcJobNode, calcinfo: CalcInfo, transport: Transport) -> None:
    """Replace the copies of models among the input files of a job by links to what its computer holds.

    A file appears there whole, under the SHA-256 of its bytes, so jobs that begin at the same time do not meet half of
    it: each writes under a name of its own, and the name that all know is given last.
    """
    computer = node.computer
    assert computer is not None  # as any job has one that is uploaded
    given = node.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all_nodes()
    models = {one.uuid: one for one in given if isinstance(one, MODELS)}
    workdir = PurePosixPath(computer.get_workdir().format(username=await transport.whoami_async()))
    copies = []
    for uuid, source, target in calcinfo.local_copy_list or ():
        if uuid not in models:
            copies.append((uuid, source, target))
            continue
        place = await _placed(models[uuid], source, workdir / FOLDER, transport)
        calcinfo.remote_symlink_list = [*(calcinfo.remote_symlink_list or ()), (computer.uuid, str(place), target)]
    calcinfo.local_copy_list = copies


async def _placed(model: SinglefileData, name: str, folder: PurePosixPath, transport: Transport) -> PurePosixPath:
    """The file of a model in ``folder``, uploaded if it is not there."""
    place = folder / f'{model.base.repository.get_object(name).key}{PurePosixPath(name).suffix}'
    if await transport.path_exists_async(place):
        return place
    await transport.makedirs_async(folder, ignore_existing=True)
    partial = folder / f'{place.name}.{uuid4().hex}'
    with model.base.repository.as_path(name) as path:
        await transport.put_async(path, partial)
    try:
        await transport.rename_async(partial, place)
    except Exception:  # another job was faster, and this transport, by an error of its own, renames over nothing
        if not await transport.path_exists_async(place):
            raise
        await transport.remove_async(partial)
    return place
