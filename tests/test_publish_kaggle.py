"""Bundles published to Kaggle, which is on this machine."""

import sys
from pathlib import Path

import kagglehub
import pytest
from bundles import LICENSE, changed, shared
from fake_kaggle import accepting

import vit_tf
from vit_tf.export import bundle
from vit_tf.publish import release
from vit_tf.publish.errors import PublishError
from vit_tf.publish.publication import publish

HANDLE = "owner/deit/tensorFlow2/micro"
VERSION = "POST .*/CreateModelInstance"
FILES = 7


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shared(tmp_path_factory)


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """The Kaggle that this process finds."""
    with accepting() as kaggle:
        for name, value in kaggle.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        # which looks through all modules of a process for each frame that calls it
        monkeypatch.setattr("kagglehub.clients.get_user_agent", lambda: "kagglehub")
        yield kaggle


def published(bundle, to="kaggle:owner/deit/micro", **options):
    options = {"license_name": LICENSE, "wait": lambda seconds: None, **options}
    return publish(bundle, to, **options)


def refused(*arguments, **options):
    with pytest.raises(PublishError) as raised:
        published(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def writes(kaggle):
    return kaggle.faults.count(r"PUT|.*/(Create|Update|StartBlob)")


def test_what_arrives_is_what_a_client_loads(original, kaggle):
    done = published(original)
    assert str(done).startswith(f"kaggle:owner/deit/micro: sent: {FILES} files, ")
    assert "; read back: the same\nhttp://localhost/models/owner/deit/" in str(done)
    assert str(done).endswith("\nprivate, until it is made public there")
    folder = kagglehub.model_download(HANDLE)
    expected = release.of_bundle(original, license_name=LICENSE)
    assert expected.differing(bundle.hashes(Path(folder))) == []
    assert vit_tf.load(folder).depth == 2


def test_what_kaggle_says_of_it(original, kaggle):
    published(original)
    model, told = kaggle.models["owner/deit"], kaggle.variations[HANDLE].told
    assert model["isPrivate"]
    assert model["title"] == "deit_tiny_patch16_224"
    assert "## Parity" in model["description"]
    assert told["licenseName"] == "Apache 2.0"
    assert f'kagglehub.model_download("{HANDLE}")' in told["usage"]
    assert told["fineTunable"] is True


def test_the_same_again_sends_nothing(original, kaggle):
    published(original)
    before = writes(kaggle)
    done = published(original)
    assert not done.plan
    assert writes(kaggle) == before
    assert "unchanged: nothing sent; read back: the same" in str(done)


def test_a_changed_bundle_is_one_more_version(original, kaggle, tmp_path):
    published(original)
    more = changed(original, tmp_path, **{"model.keras": b"one more format"})
    published(more)
    variation = kaggle.variations[HANDLE]
    assert [len(files) for files in variation.versions] == [FILES, FILES + 1]
    digest = release.of_bundle(more, license_name=LICENSE).digest
    assert variation.notes == ["", f"bundle {digest}"]  # the client sends none at first
    published(original)
    assert variation.versions[2] == variation.versions[0]


def test_a_card_alone_that_changed_is_sent_alone(original, kaggle):
    published(original)
    kaggle.variations[HANDLE].told["overview"] = "another's words"
    kaggle.models["owner/deit"]["subtitle"] = "another's words"
    done = published(original)
    assert (list(done.plan.described), done.plan.files) == (
        ["subtitle", "overview"],
        {},
    )
    assert "sent" not in str(done).splitlines()[0]
    assert "described: subtitle, overview; " in str(done)
    assert not published(original).sent


def test_what_is_said_of_a_model_is_of_all_its_variations(original, kaggle):
    published(original)
    kaggle.models["owner/deit"]["title"] = "A person's title"
    del kaggle.models["owner/deit"]["subtitle"]
    done = published(original, "kaggle:owner/deit/other")
    assert kaggle.models["owner/deit"]["title"] == "A person's title"
    assert "subtitle" in done.plan.described
    assert "title" not in done.plan.described
    for name in ("other", "micro"):
        assert not published(original, f"kaggle:owner/deit/{name}").plan


def test_a_dry_run_asks_only(original, kaggle):
    text = published(original, dry_run=True).preview()
    assert text.startswith(f"kaggle:owner/deit/micro: would be sent: {FILES} files, ")
    assert "\nlicense_name: Apache 2.0\n" in text
    assert writes(kaggle) == 0


def test_a_licence_that_kaggle_has_not(original, kaggle):
    done = published(original, license_name="apple-ascl")
    assert "Kaggle has no name for its licence" in done.plan.notes
    assert (
        "Licence of the weights: apple-ascl"
        in kaggle.models["owner/deit"]["description"]
    )


def test_many_files_go_as_one(original, kaggle, tmp_path):
    shards = {f"shard-{number}.bin": bytes([number]) for number in range(60)}
    more = changed(original, tmp_path, **shards)
    done = published(more)
    assert f"{FILES + 60} files go as one zip, which Kaggle unpacks" in done.plan.notes
    assert [name for name, _ in kaggle.blobs.values()] == ["archive.zip"]
    assert not published(more).plan


def test_where_python_cannot_unpack_many_files_they_come_singly(
    original, kaggle, tmp_path, monkeypatch
):
    monkeypatch.setattr("vit_tf.publish.kaggle.UNPACKS", False)
    shards = {f"shard-{number}.bin": bytes([number]) for number in range(60)}
    more = changed(original, tmp_path, **shards)
    assert published(more).read_back
    assert not published(more).plan
    shards["shard-7.bin"] = b"another"
    other = changed(original, tmp_path / "other", **shards)
    assert published(other).sent


def test_a_version_that_is_processed_for_a_while(original, kaggle):
    kaggle.processing = 3
    waits = []
    assert published(original, wait=waits.append).read_back
    assert waits == [1, 2]
    assert len(kaggle.variations[HANDLE].versions) == 1


def test_a_version_that_is_processed_is_not_sent_again(original, kaggle, tmp_path):
    published(original)
    more = changed(original, tmp_path, **{"model.keras": b"one more format"})
    kaggle.processing = 100
    variation = kaggle.variations[HANDLE]
    for _ in range(2):
        message = refused(more, retries=1)
        assert "kaggle:owner/deit/micro: version 1 found; expected: the one" in message
        assert "--overwrite sends anew" in message
        assert len(variation.versions) == 2
    notes = published(more, dry_run=True).plan.notes
    assert "sent before; Kaggle does not show it yet" in notes
    variation.processing = 1
    assert not published(more).sent
    assert len(variation.versions) == 2


def test_a_version_that_could_not_be_processed_is_sent_when_told(
    original, kaggle, tmp_path
):
    published(original)
    more = changed(original, tmp_path, **{"model.keras": b"one more format"})
    published(more)
    kaggle.variations[HANDLE].versions.pop()
    assert "version 1 found" in refused(more, retries=0)
    assert published(more, overwrite=True).sent
    assert not published(more).sent


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (VERSION, 503),
        (VERSION, "reset"),
        (VERSION, "lost"),
        ("POST .*/CreateModel$", 429),
        ("POST .*/GetModel$", 500),
        ("POST .*/UpdateModel$", "reset"),
        ("POST .*/StartBlobUpload", 502),
        ("PUT /blobs/", 503),
        ("PUT /blobs/", "reset"),
        ("GET /files/", "reset"),
    ],
)
def test_what_fails_by_chance_is_tried_again(request_, fault, original, kaggle):
    kaggle.faults.planned.append((request_, fault))
    done = published(original)
    assert kaggle.faults.planned == []
    assert len(done.plan.files) == FILES
    assert len(kaggle.variations[HANDLE].versions) == 1
    assert not published(original).plan


def test_nothing_is_there_before_all_is(original, kaggle):
    kaggle.faults.planned += [(VERSION, 503)] * 3
    message = refused(original, retries=2)
    assert message.startswith("kaggle:owner/deit/micro: 503: ")
    assert message.endswith("; tried 3 times")
    assert kaggle.variations == {}
    assert len(published(original).plan.files) == FILES


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "401, not signed in, or the token is not valid ("),
        (403, "403, not allowed with this token ("),
        (422, "422: "),
    ],
)
def test_what_fails_for_a_reason_is_one_line(status, message, original, kaggle):
    kaggle.faults.planned.append((VERSION, status))
    assert refused(original).startswith(f"kaggle:owner/deit/micro: {message}")
    assert kaggle.faults.count(VERSION) == 1


def test_another_owner_and_another_token(original, kaggle, monkeypatch):
    message = refused(original, "kaggle:another/deit/micro")
    assert message.startswith(
        "kaggle:another/deit/micro: 403, not allowed with this tok"
    )
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_of_nobody")
    assert refused(original).startswith("kaggle:owner/deit/micro: 401, not signed in")


def test_without_kaggles_client(original, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert refused(original) == (
        "kaggle:owner/deit/micro needs kagglehub: pip install 'vit_tf[publish]'"
    )
