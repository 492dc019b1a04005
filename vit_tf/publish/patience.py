"""What fails by chance is tried again; what fails for a reason is said in a line."""

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from vit_tf.publish.errors import DifferentError, PublishError

LONGEST = 60  # seconds between two tries, where the hub does not ask for more
LONGEST_ASKED = 600

# A hub that is busy, or that another wrote to meanwhile: what is sent is planned anew.
TRANSIENT = (408, 409, 412, 425, 429, 500, 502, 503, 504)
REASONS = {
    401: "not signed in, or the token is not valid",
    403: "not allowed with this token",
    404: "not found",
    429: "too many requests",
}
# Names of exceptions, as the hubs' clients have three libraries for their requests: the
# connection broke; something between here and the hub answered, in HTML; a download has
# another checksum.
BY_CHANCE = {
    "ChunkedEncodingError",
    "ConnectionError",
    "DataCorruptionError",
    "JSONDecodeError",
    "Timeout",
    "TimeoutError",
    "TransportError",
    DifferentError.__name__,
}
BACKEND = "BackendError"  # kagglehub's, of what Kaggle refuses
FOR_A_REASON = {
    BACKEND,
    "CredentialError",
    "LocalTokenNotFoundError",
    "OfflineModeIsEnabled",
    "UnauthenticatedError",
}
_STATUS_IN_WORDS = re.compile(r"Upload failed with status code (\d{3})")

Result = TypeVar("Result")


def patiently(
    action: Callable[[], Result],
    *,
    place: str,
    retries: int = 5,
    wait: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """What an action returns, which is tried again where it failed by chance.

    Args:
        action: What to do. Done twice, it must come to the same as done once.
        place: Where it happens, for messages.
        retries: How often it is tried again, after 1, 2, 4 ... seconds.
        wait: Waits for seconds.
        say: Is told of each try that failed.

    Raises:
        PublishError: where it failed for a reason, or too often.
    """
    for attempt in range(retries + 1):
        try:
            return action()
        except Exception as error:
            failure = next(_failures(error), None)
            if failure is None and not isinstance(error, ValueError):
                raise  # not of a hub
            said = f"{place}: {_said(failure or error)}"
            if failure is None or not _by_chance(failure):
                raise PublishError(said) from error
            if attempt == retries:
                raise PublishError(f"{said}; tried {attempt + 1} times") from error
            seconds = _pause(attempt, failure)
        say(f"{said}; again in {seconds:g} s ({attempt + 1} of {retries})")
        wait(seconds)
    raise ValueError(f"retries={retries} found; expected: 0 or more")


def status(error: BaseException) -> int | None:
    """The HTTP status that an error is about; None where there is none."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code is not None or type(error).__name__ != BACKEND:
        return code
    said = _STATUS_IN_WORDS.search(str(error))
    return int(said[1]) if said else getattr(error, "error_code", None)


def _failures(error: BaseException) -> Iterator[BaseException]:
    """Of an error and those that led to it, the ones that are about a request."""
    found: BaseException | None = error
    while found is not None:
        if status(found) is not None or _kinds(found) & (BY_CHANCE | FOR_A_REASON):
            yield found
        found = found.__cause__ or found.__context__


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _by_chance(failure: BaseException) -> bool:
    code = status(failure)
    return not _kinds(failure) & FOR_A_REASON if code is None else code in TRANSIENT


def _pause(attempt: int, failure: BaseException) -> float:
    """Seconds: twice as long each time, or as long as the hub asks for."""
    headers = getattr(getattr(failure, "response", None), "headers", {})
    asked = str(headers.get("Retry-After", ""))
    seconds = min(2**attempt, LONGEST)
    return min(max(seconds, int(asked)), LONGEST_ASKED) if asked.isdigit() else seconds


def _said(error: BaseException) -> str:
    """What failed, in a line: an error's text may go on for many."""
    words = " ".join((getattr(error, "server_message", None) or str(error)).split())
    words = words if len(words) <= 300 else f"{words[:297]}..."
    code = status(error)
    if code is None:
        return words or type(error).__name__
    return (
        f"{code}, {REASONS[code]} ({words})" if code in REASONS else f"{code}: {words}"
    )
