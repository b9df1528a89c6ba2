"""Threads that silence the libraries at the same time leave them as they were."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from diffusers.utils import logging

from sio_data.safe_loading import quiet


def test_quiet_in_two_threads_ends_with_the_last_of_them() -> None:
    before = logging.get_verbosity()
    first_is_in, second_is_in, first_is_out = Barrier(2), Barrier(2), Barrier(2)

    def first() -> None:
        with quiet():
            first_is_in.wait(60)
            second_is_in.wait(60)
        first_is_out.wait(60)

    def second() -> int:
        first_is_in.wait(60)
        with quiet():
            second_is_in.wait(60)
            first_is_out.wait(60)
            return logging.get_verbosity()

    with ThreadPoolExecutor(2) as pool:
        done, inside = pool.submit(first), pool.submit(second)
        done.result()
        assert inside.result() == logging.CRITICAL
    assert logging.get_verbosity() == before


def test_quiet_within_quiet_ends_with_the_outer_one() -> None:
    before = logging.get_verbosity()
    with quiet():
        with quiet():
            pass
        assert logging.get_verbosity() == logging.CRITICAL
    assert logging.get_verbosity() == before
