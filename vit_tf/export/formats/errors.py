"""What is said where a format cannot hold a model."""


class FormatError(ValueError):
    """A model cannot be written in a format, or not be run from it."""
