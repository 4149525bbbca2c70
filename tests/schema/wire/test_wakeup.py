from __future__ import annotations

import os
import select
import threading
from contextlib import closing

from schema.wire.descriptors import Wakeup


def readable(wakeup: Wakeup) -> bool:
    poller = select.poll()
    poller.register(wakeup.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_a_loop_is_woken_once_however_often_it_is_roused() -> None:
    with closing(Wakeup()) as wakeup:
        assert not readable(wakeup)
        assert not wakeup.taken()
        for _ in range(3):
            wakeup.rouse()
        assert readable(wakeup)
        assert wakeup.taken()
        assert not wakeup.taken()
        assert not readable(wakeup)


def test_another_thread_wakes_it() -> None:
    with closing(Wakeup()) as wakeup:
        poller = select.poll()
        poller.register(wakeup.fileno(), select.POLLIN)
        thread = threading.Thread(target=wakeup.rouse)
        thread.start()
        assert poller.poll()
        thread.join()


def test_roused_more_often_than_can_be_counted_it_neither_waits_nor_fails() -> None:
    with closing(Wakeup()) as wakeup:
        os.eventfd_write(wakeup.fileno(), 2**64 - 2)  # the most that an eventfd holds, eventfd(2)
        wakeup.rouse()
        assert wakeup.taken()


def test_no_program_that_is_started_gets_it() -> None:
    with closing(Wakeup()) as wakeup:
        assert not os.get_inheritable(wakeup.fileno())
