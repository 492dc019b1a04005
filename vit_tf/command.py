"""What this toolkit's commands share: flags of their own, an error said in a line."""

import sys
import traceback
from collections.abc import Callable, Sequence

from absl import flags


def run(
    name: str,
    main: Callable[[list[str]], None],
    argv: list[str],
    *,
    stopped: str = "stopped",
) -> None:
    """Runs a command; one clear message and a non-zero exit where it fails.

    Args:
        name: What the command is called in its messages.
        main: What it does with its arguments.
        argv: The script's name and the arguments; --debug shows where an error is from.
        stopped: What is said after a Ctrl-C.
    """
    try:
        main(argv)
    except KeyboardInterrupt:
        print(f"\n{name}: {stopped}", file=sys.stderr)
        sys.exit(130)  # as shells have it, of a Ctrl-C
    except Exception as error:  # noqa: BLE001 - said in one line
        if {"--debug", "--debug=true"} & set(argv):
            traceback.print_exc()
        sys.exit(f"{name}: error: {message(error)}")


def parse(values: flags.FlagValues, argv: list[str], about: str) -> list[str]:
    """Sets the flags of a command: as its arguments say, or else to their defaults.

    Args:
        values: The flags, "help" among them.
        argv: The script's name and the arguments.
        about: What --help prints above the flags.

    Returns:
        The arguments that are no flags.

    Raises:
        ValueError: naming the flag that is wrong.
        SystemExit: behind what --help prints.
    """
    values.unparse_flags()
    for name in values:
        values[name].unparse()
    try:
        others = values(argv)[1:]
    except flags.Error as error:
        raise ValueError(f"{error} (see --help)") from error
    if values.help:
        print(f"{about}\n{values.get_help()}")
        sys.exit(0)
    return others


def check_given(
    values: flags.FlagValues, names: Sequence[str], others: Sequence[str]
) -> None:
    """That a command has what it needs, and nothing else.

    Raises:
        ValueError: naming every flag of `names` that has no value, or the first of
            `others`, which are no flags.
    """
    if others:
        raise ValueError(f"{others[0]!r} found; expected: flags only, --NAME=VALUE")
    missing = [
        f"--{name} is missing: {values[name].help.partition(';')[0]}"
        for name in names
        if not values[name].value
    ]
    if missing:
        raise ValueError("; ".join(missing))


def message(error: BaseException) -> str:
    """An error as a command says it: what is wrong, and with what."""
    if isinstance(error, OSError) and error.strerror:
        places = [str(place) for place in (error.filename, error.filename2) if place]
        return ": ".join([error.strerror, *places])
    text = str(error).strip()
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
