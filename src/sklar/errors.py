"""The errors that sklar raises on purpose; each names the value, the rule and the way out.

::

    SklarError
    ├── UserError   exit code 2: a wrong argument, option, path or configuration; a ValueError
    ├── DataError   exit code 3: a table, file or folder that breaks its contract; a ValueError
    ├── TrainingError  exit code 3: training cannot go on
    └── InterruptedRunError  exit code 130: the user stopped long work that can go on
"""

import difflib
from collections.abc import Iterable


class SklarError(Exception):
    """Any error that sklar raises on purpose.

    Attributes:
        exit_code: What the command line returns when this error ends a command.
    """

    exit_code = 1


class UserError(SklarError, ValueError):
    """The call cannot work as it was made: the caller changes an argument, an option or a path."""

    exit_code = 2


class DataError(SklarError, ValueError):
    """The data break their contract: the message names table, column, row and remedy."""

    exit_code = 3


class TrainingError(SklarError):
    """Training cannot go on: a loss that is not finite, a split that cannot be judged, a full disk.

    What is finished stays; the message says how to go on.
    """

    exit_code = 3


class InterruptedRunError(SklarError):
    """The user stopped long work; the message says how to go on."""

    exit_code = 130


def nearest(word: str, valid: Iterable[str], prefix: str = "") -> str:
    """The end of a message about an unknown name: which valid one was meant, or nothing if none is near."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
