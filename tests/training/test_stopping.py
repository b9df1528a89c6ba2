import os
import signal
import threading

import pytest

from sio_data.training.stopping import stop_request

SIGNALS = [signal.SIGTERM, signal.SIGINT]


class SecondError(Exception):
    pass


@pytest.fixture(params=SIGNALS, ids=["SIGTERM", "SIGINT"])
def number(request: pytest.FixtureRequest) -> signal.Signals:
    return request.param


@pytest.fixture(autouse=True)
def _own_handlers() -> object:
    """Handlers that tell of themselves, so that no signal ends the tests."""

    def second(*_: object) -> None:
        raise SecondError

    before = {one: signal.signal(one, second) for one in SIGNALS}
    yield second
    for one, handler in before.items():
        signal.signal(one, handler)


def test_the_first_signal_is_noted_and_the_second_works_as_before(number: signal.Signals) -> None:
    with stop_request() as request:
        assert request.signal == 0
        os.kill(os.getpid(), number)
        assert request.signal == number
        with pytest.raises(SecondError):
            os.kill(os.getpid(), number)


def test_the_handlers_are_restored_after_the_end_a_signal_and_an_error(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with stop_request():
        assert all(signal.getsignal(one) not in before for one in SIGNALS)
    assert [signal.getsignal(one) for one in SIGNALS] == before
    with stop_request():
        os.kill(os.getpid(), number)
    assert [signal.getsignal(one) for one in SIGNALS] == before
    with pytest.raises(ZeroDivisionError), stop_request():
        raise ZeroDivisionError
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_in_another_thread_nothing_changes() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    seen = []

    def work() -> None:
        with stop_request() as request:
            seen.append((request.signal, [signal.getsignal(one) for one in SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0, before)]
