"""What is wrong with an evaluation that was asked for."""


class EvaluationError(ValueError):
    """A bundle, a data set or a folder of results cannot be used. It says why."""
