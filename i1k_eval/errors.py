"""What is wrong with an evaluation that was asked for."""


class EvaluationError(ValueError):
    """A bundle, a data set or a folder of results cannot be used. It says why."""


def message(error: BaseException) -> str:
    """An error in a line, as a command says it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error)
    text = "; ".join(str(error).split("\n")).strip()
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
