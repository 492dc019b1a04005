"""Bundles published to a Hugging Face hub on this machine."""

import os
import subprocess
import sys
import threading

import huggingface_hub
import pytest
from bundles import LICENSE, changed, shared
from cli import ROOT
from fake_writable_hub import TOKEN, accepting
from huggingface_hub import constants

import vit_tf
from vit_tf.export import bundle
from vit_tf.publish import __main__ as command
from vit_tf.publish import release
from vit_tf.publish.errors import PublishError
from vit_tf.publish.publication import publish

COMMIT = "POST /api/models/org/deit/commit"
FILES = 7


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shared(tmp_path_factory)


@pytest.fixture
def hub(monkeypatch):
    """A hub that this process takes for the only one."""
    with accepting() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


def published(bundle, to="hf:org/deit", **options):
    options = {"license_name": LICENSE, "wait": lambda seconds: None, **options}
    return publish(bundle, to, **options)


def refused(*arguments, **options):
    with pytest.raises(PublishError) as raised:
        published(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def there(hub, branch="main", name="org/deit"):
    """The files of a branch's last commit, without the hub's own."""
    files = hub.repositories[name].branches[branch][-1].files
    return {path: content for path, content in files.items() if path[:4] != ".git"}


def commits(hub, branch="main"):
    return len(hub.repositories["org/deit"].branches[branch]) - 1  # the first is empty


def test_what_arrives_is_what_a_client_loads(original, hub, tmp_path):
    done = published(original)
    assert str(done).startswith(f"hf:org/deit: sent: {FILES} files, ")
    assert (
        f"; read back: the same\n{hub.address}/org/deit/tree/main\na new, pub"
        in str(done)
    )
    folder = huggingface_hub.snapshot_download(
        "org/deit", endpoint=hub.address, local_dir=tmp_path / "deit"
    )
    expected = release.of_bundle(original, license_name=LICENSE)
    found = bundle.hashes(tmp_path / "deit")
    assert expected.differing(found) == ["README.md"]  # which is Hugging Face's here
    assert (tmp_path / "deit/README.md").read_text().startswith("---\n")
    assert f"license: {LICENSE}" in (tmp_path / "deit/README.md").read_text()
    assert vit_tf.load(folder).depth == 2
    assert commits(hub) == 1
    assert not hub.repositories["org/deit"].private


def test_the_same_again_sends_nothing(original, hub):
    published(original)
    before = hub.faults.count("POST|PUT")
    done = published(original)
    assert str(done).startswith("hf:org/deit: unchanged: nothing sent; read back: the")
    assert hub.faults.count("POST|PUT") == before


def test_a_changed_bundle_is_one_more_commit(original, hub, tmp_path):
    formats = {"model.keras": b"one more format"}
    published(changed(original, tmp_path, **formats))
    hub.repositories["org/deit"].branches["main"][-1].files["LICENSE"] = b"a person's"
    done = published(original)
    assert done.plan.removed == ("model.keras",)
    assert "; removed: 1; " in str(done)
    assert set(done.plan.files) == {"fingerprint.pb", str(bundle.PARITY), "README.md"}
    assert commits(hub) == 2
    assert there(hub).keys() == {*bundle.files(original), "LICENSE"}


def test_a_dry_run_asks_only(original, hub):
    for dry_run in (True, False, True):
        before = hub.faults.count("POST|PUT")
        done = published(original, dry_run=dry_run)
        text = done.preview()
        if dry_run:
            assert hub.faults.count("POST|PUT") == before
    assert text == "hf:org/deit: unchanged, nothing would be sent"


def test_a_dry_run_shows_what_and_where(original, hub):
    text = published(original, dry_run=True, private=True).preview()
    assert text.startswith(f"hf:org/deit: would be sent: {FILES} files, ")
    assert "  saved_model.pb\n" in text
    assert "\na new, private repository\n\n---\n" in text
    assert hub.repositories == {}


def test_a_branch_of_a_private_repository(original, hub):
    done = published(original, revision="v1", private=True)
    assert done.place == "hf:org/deit@v1"
    assert there(hub, "v1").keys() == bundle.files(original).keys()
    assert there(hub) == {}
    assert hub.repositories["org/deit"].private
    assert published(original, revision="v2").plan.notes == ("a new branch",)


def test_a_public_repository_is_not_taken_for_a_private_one(original, hub):
    published(original)
    message = refused(original, private=True)
    assert message == "hf:org/deit: a public repository found; expected: a private one"


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (COMMIT, 503),  # which the client does not try again by itself
        (COMMIT, 429),
        (COMMIT, "reset"),
        (COMMIT, "lost"),
        (COMMIT, 412),
        ("PUT /large/", "reset"),
        ("PUT /large/", 500),
        ("POST /api/validate-yaml", "html"),
        ("POST /api/repos/create", 502),
        ("POST /api/models/org/deit/preupload", 504),
        ("GET /api/models/org/deit", 500),
        ("GET /api/models/org/deit/tree", "reset"),
        ("HEAD /org/deit/resolve/", 503),
    ],
)
def test_what_fails_by_chance_is_tried_again(request_, fault, original, hub):
    hub.faults.planned.append((request_, fault))
    done = published(original)
    assert hub.faults.planned == []
    assert len(done.plan.files) == FILES
    assert commits(hub) == 1
    assert there(hub).keys() == bundle.files(original).keys()


def test_it_is_tried_so_often_and_no_more(original, hub):
    hub.faults.planned += [(COMMIT, 503)] * 9
    waits, said = [], []
    message = refused(original, retries=2, wait=waits.append, say=said.append)
    assert message.startswith("hf:org/deit: 503: ")
    assert message.endswith("; tried 3 times")
    assert hub.faults.count(COMMIT) == 3
    assert waits == [1, 2]
    assert said[0].endswith("; again in 1 s (1 of 2)")
    assert commits(hub) == 0
    hub.faults.planned.clear()
    assert len(published(original).plan.files) == FILES
    assert hub.faults.count("PUT /large/") == len(hub.large)  # each arrived once


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "hf:org/deit: 401, not signed in, or the token is not valid ("),
        (403, "hf:org/deit: 403, not allowed with this token ("),
        (422, "hf:org/deit: 422: "),
    ],
)
def test_what_fails_for_a_reason_is_one_line(status, message, original, hub):
    hub.faults.planned.append((COMMIT, status))
    assert refused(original).startswith(message)
    assert hub.faults.count(COMMIT) == 1
    assert commits(hub) == 0


def test_without_a_token(original, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert refused(original).startswith("hf:org/deit: 401, not signed in, or the tok")
    assert hub.repositories == {}


def test_a_commit_of_another_that_comes_between(original, hub, monkeypatch):
    published(original)
    branch = hub.repositories["org/deit"].branches["main"]
    theirs = branch[-1]._replace(oid="f" * 40, files={"theirs.txt": b"theirs"})
    create = huggingface_hub.HfApi.create_commit

    def after_another(*arguments, **options):
        if theirs not in branch:
            branch.append(theirs)
        return create(*arguments, **options)

    branch[-1].files["fingerprint.pb"] = b"changed"
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", after_another)
    published(original)
    assert there(hub).keys() == {*bundle.files(original), "theirs.txt"}


def test_what_reads_back_differently_is_no_success(original, hub):
    hub.ignored.add("fingerprint.pb")  # as by a .gitignore there
    assert refused(original, retries=1) == (
        "hf:org/deit: read back, fingerprint.pb found to differ from what was sent; "
        "tried 2 times"
    )
    assert not published(original, verify=False).read_back


def test_a_killed_publication_is_finished_by_the_same_command(original, hub, capsys):
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"}
    arguments = [f"--bundle={original}", "--to=hf:org/deit", f"--license={LICENSE}"]
    hub.faults.planned.append((COMMIT, "hang"))
    with subprocess.Popen(
        [sys.executable, "-m", "vit_tf.publish", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ) as process:
        threading.Thread(
            target=lambda: process.wait() and hub.faults.hanging.set(), daemon=True
        ).start()  # it may end before it comes so far
        hub.faults.hanging.wait()
        assert process.poll() is None
        process.kill()
    assert hub.large  # its files have arrived
    assert there(hub) == {}  # and none can be seen
    before = hub.faults.count("PUT")
    command.run(["publish", *arguments])
    assert capsys.readouterr().out.startswith(f"hf:org/deit: sent: {FILES} files, ")
    assert hub.faults.count("PUT") == before
    assert there(hub).keys() == bundle.files(original).keys()


def test_without_the_hubs_client(original, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    assert refused(original) == (
        "hf:org/deit needs huggingface_hub: pip install 'vit_tf[publish]'"
    )
