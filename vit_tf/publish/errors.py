"""What can be wrong with a publication."""


class PublishError(ValueError):
    """A bundle may not be published as it is, or cannot be where it is to go."""


class DifferentError(PublishError):
    """What a client downloads is not, or not yet, what was sent."""
