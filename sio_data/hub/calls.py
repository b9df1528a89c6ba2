"""Calls to the Hugging Face Hub: tried again where that helps, with errors that say what to do and hold no secret."""

import errno
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from logging import CRITICAL, getLogger
from threading import Event, Lock
from typing import TypeVar

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not marked as such
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    parse_ratelimit_headers,
)
from rich.console import Console

from sio_data.errors import InputError, SioDataError
from sio_data.texts import printable, redact

_TRIES = 5
_LONGEST_PAUSE = 300.0  # seconds; a Hub that asks for more is left alone until the user comes back
_PASSING = (408, 429, 500, 502, 503, 504)
_AGAIN = "Run the same command again later: what arrived is kept."
_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."
# What the client raises on answers that are not the Hub's: of a captive portal, a mirror, a server for something else.
_STRANGE = (LookupError, TypeError, AttributeError)
# What else it raises: of HTTP, of its own checks (ValueError, OSError), and around uploads (RuntimeError).
_ERRORS = (httpx2.HTTPError, OSError, ValueError, RuntimeError, *_STRANGE)

T = TypeVar("T")


class MissingFileError(InputError):
    """A repository on the Hub lacks a file."""


class StoppedError(SioDataError):
    """Nobody waits for a call any more."""


def call(what: str, function: Callable[[], T], stop: Event | None = None) -> T:
    """Call the Hub; after an answer of 429 or 5xx or a broken connection, pause and call again.

    Args:
        what: What it is about, for messages.
        function: The call. It is made up to five times, and may have had its effect when it fails.
        stop: Once it is set, no other try is made, and a pause ends at once.

    Raises:
        InputError: There is no such repository or revision.
        SioDataError: The Hub refuses, cannot be reached, or fails again and again.
        StoppedError: `stop` was set while another try was due.
    """
    attempt = 0
    while True:
        try:
            return function()
        except SioDataError:
            raise
        except _ERRORS as error:
            cause = _find_cause(error)
        pause = _pause(cause, attempt) if attempt + 1 < _TRIES else None
        if pause is None:
            # Outside of the block above: the client's own error may quote a token or a signed address, and is cut off.
            raise _translate(what, cause)
        line = printable(f"{what}: {_brief(cause)}; again in {pause:.0f} s")
        Console(stderr=True).print(line, markup=False, soft_wrap=True)
        _wait(pause, stop or Event())
        attempt += 1


def _wait(seconds: float, stop: Event) -> None:
    if stop.wait(seconds):
        raise StoppedError("stopped.")


class _Quiet:
    """Silence that lasts from the first thread that asks for it to the last one: what it changes is the process's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._silence = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._silence.enter_context(_silence())
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._silence.close()


_QUIET = _Quiet()


def quiet() -> AbstractContextManager[None]:
    """Keep the client's progress bars, warnings and log lines, which quote signed addresses and headers, to itself."""
    return _QUIET


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [getLogger(name) for name in ("huggingface_hub", "httpx2", "httpcore2")]
    before = [(logger, logger.level) for logger in loggers]
    bars = not are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(CRITICAL)
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
        if bars:
            enable_progress_bars()


def _find_cause(error: BaseException) -> BaseException:
    """Find the error of HTTP that the client wrapped into another one; the error itself if there is none."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, httpx2.HTTPError | OfflineModeIsEnabled):
            return inner
        inner = inner.__cause__
    return error


def _pause(cause: BaseException, attempt: int) -> float | None:
    """Give how many seconds to wait before the next try; None if another one cannot help."""
    if isinstance(cause, HfHubHTTPError):
        if cause.response.status_code not in _PASSING:
            return None
        asked = _asked_pause(cause.response)
        if asked is not None:
            return asked if asked <= _LONGEST_PAUSE else None
    elif isinstance(cause, OSError):
        if isinstance(cause, OfflineModeIsEnabled) or cause.errno is not None:
            return None  # otherwise a download of the wrong length
    elif not isinstance(cause, httpx2.TransportError | json.JSONDecodeError):
        return None
    return float(2**attempt)


def _asked_pause(response: httpx2.Response) -> float | None:
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = response.headers.get("Retry-After", "").strip()
    return float(after) if after.isdigit() else None


def _translate(what: str, cause: BaseException) -> SioDataError:
    if isinstance(cause, OfflineModeIsEnabled):
        return SioDataError(f"{what}: the Hub may not be asked, because HF_HUB_OFFLINE is set.")
    if isinstance(cause, HFValidationError):
        return InputError(f"{what}: no repository can have that name.")
    if isinstance(cause, RevisionNotFoundError):
        return InputError(f"{what}: no such branch, tag or commit on the Hub.")
    if isinstance(cause, RepositoryNotFoundError):
        return InputError(f"{what}: no such repository on the Hub, or a private one. {_LOG_IN}")
    if isinstance(cause, EntryNotFoundError):
        return MissingFileError(f"{what}: no such file on the Hub.")
    if isinstance(cause, HfHubHTTPError):
        return _translate_status(what, cause)
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        return SioDataError(f"{what}: the disk is full. Make room, then run the same command again.")
    if isinstance(cause, httpx2.TransportError):
        return SioDataError(f"{what}: the Hub cannot be reached ({_brief(cause)}). {_AGAIN}")
    if isinstance(cause, _STRANGE):
        return SioDataError(
            f"{what}: what answers is not the Hub ({type(cause).__name__}: {_brief(cause)}). "
            "Is there a login page in between, or does HF_ENDPOINT name something else?"
        )
    return SioDataError(f"{what}: {_brief(cause)}")


def _translate_status(what: str, cause: HfHubHTTPError) -> SioDataError:
    status = cause.response.status_code
    if status in (401, 403):
        return SioDataError(f"{what}: {_brief(cause)}. {_LOG_IN} The token needs the right to do this.")
    if status == 412:
        return SioDataError(f"{what}: somebody else changed the repository meanwhile. Run the same command again.")
    if status in _PASSING:
        return SioDataError(f"{what}: {_brief(cause)}. {_AGAIN}")
    return SioDataError(f"{what}: {_brief(cause)}")


def _brief(cause: BaseException) -> str:
    """Say in a few words what happened, without anything that only the client and the Hub should know."""
    if not isinstance(cause, HfHubHTTPError):
        text = str(cause).strip()
        return redact(f"{type(cause).__name__}: {text}" if isinstance(cause, httpx2.HTTPError) and text else text)
    token = cause.response.request.headers.get("Authorization", "").rpartition(" ")[2]
    said = redact(cause.server_message or "", token)
    return f"the Hub answers {cause.response.status_code}{f', {said}' if said else ''}"
