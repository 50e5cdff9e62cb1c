"""The broker's queue of tasks, one for each process that the daemon shall run, beside the database.

Tasks that a worker holds cannot be seen, so what is compared here means something only while no worker lives.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Collection
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida.manage import get_config, get_manager
from kiwipy import UnroutableError
from plumpy.futures import unwrap_kiwi_future
from plumpy.process_comms import create_continue_body

from aiida_ufpnmr.tools.foreground import active_of_daemon
from aiida_ufpnmr.tools.profile import loaded_profile

#: Seconds that workers have to answer; what is too busy for that is taken to live.
ANSWER_PATIENCE = 5.0
#: The broker tells how it is every five seconds; it is not asked where it has not told for so long.
OLDEST_STATUS_s = 30.0


@dataclass(frozen=True)
class Mended:
    """What was put right in the queue, by pk.

    Attributes:
        queued: active processes that had no task.
        removed: tasks of processes that have ended, or of which there is another.
    """

    queued: list[int]
    removed: list[int]


def is_rabbitmq() -> bool:
    """Whether the broker is a server of its own, and not a part of the daemon."""
    return loaded_profile().process_control_backend == 'core.rabbitmq'


def mend() -> Mended:
    """Make the queue hold one task for each active process that the daemon shall run; no worker may live.

    This is what ``verdi process repair`` does, with tasks that are there twice, and without looking at the connections
    to the database.
    """
    broker: Any = get_manager().get_broker()
    active = active_of_daemon()
    seen: set[int] = set()
    removed = []
    for task in broker.iterate_tasks() if broker is not None else ():
        pk = task.body.get('args', {}).get('pid')
        if pk in active and pk not in seen:
            seen.add(pk)
            continue
        with task.processing() as outcome:
            outcome.set_result(False)
        removed.append(pk)
    queued = sorted(active - seen)
    _add_tasks(queued)
    return Mended(queued, removed)


def _add_tasks(pks: Collection[int]) -> None:
    if is_rabbitmq():
        controller = get_manager().get_process_controller()
        for pk in pks:
            controller.continue_process(pk)
    elif pks:  # the broker reads its files when the daemon starts it
        from aiida.brokers.zeromq.queue import PersistentQueue

        queue = PersistentQueue(_task_folder())
        for pk in pks:
            queue.push(uuid.uuid4().hex, {'body': create_continue_body(pid=pk), 'no_reply': True})


def _broker_folder() -> Path:
    return Path(get_config().filepaths(loaded_profile())['broker_service']['dir'])


def _task_folder() -> Path:
    return _broker_folder() / 'storage' / 'tasks'


def workers_heard() -> int | None:
    """How many workers the broker that is a part of the daemon sends tasks to; ``None`` where that is not known.

    It forgets one that it cannot reach while tasks are with it, as where the machine was too busy for some seconds;
    and a worker tells only once, when it starts, that it takes tasks. RabbitMQ's workers tell it again.
    """
    if is_rabbitmq():
        return None
    try:
        told = json.loads((_broker_folder() / 'broker.status').read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # none yet, or just being written
        return None
    return told['task_subscribers'] if time.time() - told['timestamp'] < OLDEST_STATUS_s else None


def consumers() -> int:
    """How many workers, wherever they are, are connected to the queue; 0 for a broker that is a part of the daemon."""
    if not is_rabbitmq():
        return 0
    import aio_pika
    from aiida.brokers.rabbitmq.utils import get_launch_queue_name

    broker: Any = get_manager().get_broker()

    async def ask() -> int:
        async with await aio_pika.connect(broker.get_url()) as connection:
            name = get_launch_queue_name(f'aiida-{loaded_profile().uuid}')
            try:
                queue = await (await connection.channel()).declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:  # nothing was ever submitted
                return 0
            return queue.declaration_result.consumer_count or 0

    return asyncio.run(ask())


def waiting() -> set[int]:
    """The processes with a task that no worker holds, while workers live; looking changes nothing."""
    if is_rabbitmq():
        broker: Any = get_manager().get_broker()
        return {task.body.get('args', {}).get('pid') for task in broker.iterate_tasks()}
    files = (_task_folder() / 'pending').glob('*.json')  # AiiDA's own way to read them moves those that workers hold
    return {json.loads(file.read_text()).get('body', {}).get('args', {}).get('pid') for file in files}


def without_worker(pks: Collection[int]) -> set[int]:
    """Those of these processes that no worker has, and that do not wait for one either, while workers live."""
    if not pks:
        return set()
    controller = get_manager().get_process_controller()
    asked, lost = {}, set()
    for pk in pks:
        try:
            asked[pk] = unwrap_kiwi_future(controller.get_status(pk))
        except UnroutableError:
            lost.add(pk)
    for pk, answer in asked.items() if not is_rabbitmq() else ():
        try:
            answer.result(timeout=ANSWER_PATIENCE)
        except NoAnswer:
            pass
        except Exception as error:  # the only way in which this broker says so
            if 'Recipient not found' in str(error):
                lost.add(pk)
    return lost - waiting()
