"""The memory for `command_id`s is bounded in time and number (contract 1.4)."""

import pytest

from offhook.base import limits
from offhook.call.commands import Hangup, Reply, StopFork
from offhook.call.dedupe import CommandMemory

pytestmark = pytest.mark.unit

REPLY = Reply({"result": "ok"})


def test_a_command_without_an_id_is_never_known() -> None:
    memory = CommandMemory()
    memory.remember(Hangup(), REPLY, 0.0)
    assert memory.recall(Hangup(), 0.0) is None
    assert len(memory) == 0


def test_expired_replies_leave_when_a_new_one_comes() -> None:
    memory = CommandMemory()
    for number in range(10):
        memory.remember(Hangup(command_id=str(number)), REPLY, float(number))
    memory.remember(Hangup(command_id="late"), REPLY, limits.COMMAND_IDS_KEPT_S + 5)
    assert len(memory) == 5
    assert memory.forgotten_early == 0


def test_the_oldest_leaves_first_when_the_memory_is_full() -> None:
    memory = CommandMemory()
    for number in range(limits.COMMAND_IDS_PER_LEG_MAX + 1):
        memory.remember(Hangup(command_id=str(number)), REPLY, 0.0)
    assert len(memory) == limits.COMMAND_IDS_PER_LEG_MAX
    assert memory.forgotten_early == 1
    assert memory.recall(Hangup(command_id="0"), 1.0) is None
    assert memory.recall(Hangup(command_id="1"), 1.0) == Reply(REPLY.data, duplicate=True)


def test_an_id_used_again_after_its_time_is_kept_anew() -> None:
    memory = CommandMemory()
    memory.remember(Hangup(command_id="a"), REPLY, 0.0)
    memory.remember(Hangup(command_id="a"), REPLY, limits.COMMAND_IDS_KEPT_S)
    assert memory.recall(Hangup(command_id="a"), limits.COMMAND_IDS_KEPT_S + 1) is not None


def test_a_reader_of_a_replay_cannot_change_the_memory() -> None:
    memory = CommandMemory()
    memory.remember(StopFork(command_id="a"), Reply({"result": "ok"}), 0.0)
    first = memory.recall(StopFork(command_id="a"), 1.0)
    assert first is not None
    first.data["result"] = "changed"
    assert memory.recall(StopFork(command_id="a"), 1.0) == Reply({"result": "ok"}, duplicate=True)


def test_an_id_used_again_does_not_keep_older_ones_alive() -> None:
    memory = CommandMemory()
    for at, command_id in [(0.0, "a"), (10.0, "b"), (60.0, "a"), (80.0, "c")]:
        memory.remember(Hangup(command_id=command_id), REPLY, at)
    assert len(memory) == 2, "b expired at 70 s"
