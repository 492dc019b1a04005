"""Where a bundle can be published, and what that place lacks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from vit_tf.publish.release import Release


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be sent.

    Attributes:
        files: Path -> bytes; of an archive, of what is in it.
        removed: Paths of an earlier bundle that this one does not have.
        described: What is said of the bundle beside its files, and is said anew.
        notes: What a person should know of it.
        base: The commit that is there, where a place has commits.
    """

    files: Mapping[str, int]
    removed: tuple[str, ...] = ()
    described: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    base: str = ""

    def __bool__(self) -> bool:
        return bool(self.files or self.removed or self.described)


class Target(Protocol):
    """A place for one bundle."""

    @property
    def place(self) -> str:
        """As a person names it."""

    @property
    def address(self) -> str:
        """Where a person finds what is published."""

    def rendered(self, release: Release) -> Release:
        """The release with the card that this place shows."""

    def card(self, release: Release) -> str:
        """What this place shows of it."""

    def plan(self, release: Release) -> Plan:
        """What this place lacks of a release. Sends nothing."""

    def send(self, release: Release, plan: Plan) -> None:
        """Sends it. Whoever loads from there meanwhile finds all of it or none."""

    def differing(self, release: Release) -> list[str]:
        """What a client that downloads it gets otherwise, or not at all."""
