"""A bundle as a repository on the Hugging Face hub."""

import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vit_tf.export import bundle
from vit_tf.export import card as cards
from vit_tf.publish.errors import PublishError
from vit_tf.publish.release import DESCRIBED, README, Content, Release
from vit_tf.publish.target import Plan

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


@dataclasses.dataclass(frozen=True)
class HuggingFace:
    """A repository's branch. The token is the client's own: HF_TOKEN, or its login.

    A bundle arrives in one commit: what fails before it leaves files that no client
    sees. The client's `upload_folder` makes several commits of one folder.

    Attributes:
        repository: "ORG/NAME".
        revision: The branch, which is made where there is none.
        private: Whether the repository is a private one, where it is made.

    Raises:
        PublishError: if the client is not installed, or takes no such name.
    """

    repository: str
    revision: str = "main"
    private: bool = False

    def __post_init__(self) -> None:
        try:
            from huggingface_hub.utils import validate_repo_id
        except ImportError as error:
            raise PublishError(
                f"{self.place} needs huggingface_hub: pip install 'vit_tf[publish]'"
            ) from error
        if self.repository.count("/") != 1:
            raise PublishError(f"{self.place} found; expected: hf:ORG/NAME")
        try:
            validate_repo_id(self.repository)
        except ValueError as error:
            raise PublishError(f"{self.place}: {error}") from error

    @property
    def place(self) -> str:
        branch = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repository}{branch}"

    @property
    def address(self) -> str:
        return f"{self._api.endpoint}/{self.repository}/tree/{self.revision}"

    def rendered(self, release: Release) -> Release:
        text = cards.hugging_face(release.card, self.repository)
        return release.with_readme(text)

    def card(self, release: Release) -> str:
        return release.files[README].read().decode()

    def plan(self, release: Release) -> Plan:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            private = self._api.model_info(self.repository).private
        except RepositoryNotFoundError:
            kind = "private" if self.private else "public"
            return Plan(_sizes(release), notes=(f"a new, {kind} repository",))
        if self.private and not private:
            raise PublishError("a public repository found; expected: a private one")
        commit, there = self._there()
        if not commit:
            return Plan(_sizes(release), notes=("a new branch",))
        files = {
            path: content.size
            for path, content in release.files.items()
            if path not in there or not _same(content, there[path])
        }
        removed = self._of_earlier_bundle(commit, there) - release.files.keys()
        return Plan(files, tuple(sorted(removed)), base=commit)

    def send(self, release: Release, plan: Plan) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        self._api.create_repo(
            self.repository, private=self.private or None, exist_ok=True
        )
        if self.revision != "main":
            self._api.create_branch(
                self.repository, branch=self.revision, exist_ok=True
            )
        self._api.create_commit(
            self.repository,
            [
                *(
                    CommitOperationAdd(path, release.files[path].source)
                    for path in plan.files
                ),
                *(CommitOperationDelete(path) for path in plan.removed),
            ],
            commit_message=f"{release.card.model}, converted by vit_tf",
            commit_description=f"bundle {release.digest}",
            revision=self.revision,
            parent_commit=plan.base or None,  # no other's commit comes between
        )

    def differing(self, release: Release) -> list[str]:
        """What a client gets otherwise.

        The hub names large files by their sha256, which is what its client checks; the
        small ones, which git names by a weaker hash, are downloaded.
        """
        commit, there = self._there()
        hashes = {path: file.lfs.sha256 for path, file in there.items() if file.lfs}
        small = release.files.keys() & (there.keys() - hashes.keys())
        return release.differing(hashes | self._downloaded(commit, small))

    @functools.cached_property
    def _api(self) -> "HfApi":
        from huggingface_hub import HfApi

        return HfApi(library_name="vit_tf")

    def _there(self) -> tuple[str, Mapping[str, "RepoFile"]]:
        """The branch's commit and its files; "" and none where there is no branch."""
        from huggingface_hub.errors import RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        try:
            found = self._api.model_info(self.repository, revision=self.revision)
        except RevisionNotFoundError:
            return "", {}
        entries = self._api.list_repo_tree(
            self.repository, recursive=True, revision=found.sha
        )
        return found.sha, {e.path: e for e in entries if isinstance(e, RepoFile)}

    def _of_earlier_bundle(
        self, commit: str, there: Mapping[str, "RepoFile"]
    ) -> set[str]:
        """What is there of a bundle. Other files are a person's, who put them there."""
        parity = str(bundle.PARITY)
        if parity not in there:
            return set()
        with tempfile.TemporaryDirectory() as folder:
            path = self._fetched(parity, commit, folder)
            proven = json.loads(Path(path).read_text())
        return {*proven["result"], *DESCRIBED} & there.keys()

    def _downloaded(self, commit: str, paths: set[str]) -> dict[str, str]:
        """Path -> sha256, of what a client downloads."""
        with tempfile.TemporaryDirectory() as folder:
            return {
                path: bundle.sha256(Path(self._fetched(path, commit, folder)))
                for path in sorted(paths)
            }

    def _fetched(self, path: str, commit: str, folder: str) -> str:
        return self._api.hf_hub_download(
            self.repository, path, revision=commit, local_dir=folder
        )


def _sizes(release: Release) -> dict[str, int]:
    return {path: content.size for path, content in release.files.items()}


def _same(content: Content, there: "RepoFile") -> bool:
    """By the hub's own hashes: sha256 of a large file, git's of a small one."""
    if there.size != content.size:
        return False
    if there.lfs:
        return there.lfs.sha256 == content.sha256
    data = content.read()
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
