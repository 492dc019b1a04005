"""What may be published, and what archives and folders then hold."""

import errno
import gzip
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_hub as hub
from bundles import LICENSE, changed, listed, rewritten, shared
from cli import tree
from fake_server import Served, serving

import vit_tf
from vit_tf.export import bundle
from vit_tf.publish import __main__ as command
from vit_tf.publish import archive, release
from vit_tf.publish.errors import DifferentError, PublishError
from vit_tf.publish.patience import patiently
from vit_tf.publish.publication import publish


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shared(tmp_path_factory)


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def refused(bundle, to="dir:/nowhere", **options):
    with pytest.raises(PublishError) as raised:
        publish(bundle, to, **{"license_name": LICENSE, **options})
    return str(raised.value)


def published(bundle, to, **options):
    return publish(bundle, to, license_name=LICENSE, **options)


# What may be published.


def test_all_that_keeps_a_bundle_back_is_said(copy):
    (copy / "saved_model.pb").write_bytes(b"cut")
    (copy / "fingerprint.pb").unlink()
    (copy / "README.md").unlink()
    (copy / "notes.txt").write_text("mine")
    rewritten(copy, compared_with_timm=False)
    assert refused(copy, license_name="") == (
        f"{copy} is not published: fingerprint.pb is missing; README.md is missing; "
        "saved_model.pb has other "
        "bytes than assets.extra/parity.json states; notes.txt is not in "
        "assets.extra/parity.json; it was not compared with timm; --allow_unproven "
        "publishes it all the same; the licence of its weights is not known; "
        "--license=NAME states it"
    )


def test_a_folder_that_is_no_bundle(copy, tmp_path):
    (copy / bundle.PARITY).unlink()
    for folder in (copy, tmp_path / "none"):
        assert refused(folder).startswith(f"{folder} is not a bundle of vit_tf: saved_")


def test_another_licence_than_the_stated_one(copy):
    rewritten(copy, bundle.CONFIG, license="mit")
    rewritten(copy, result=listed(copy))
    message = refused(copy, license_name=LICENSE)
    assert message.endswith(f"--license={LICENSE} found; its weights have mit")
    assert release.of_bundle(copy).card.license == "mit"


def test_an_unproven_bundle_where_that_is_said(copy, tmp_path):
    rewritten(copy, compared_with_timm=False)
    published(copy, f"dir:{tmp_path / 'out'}", allow_unproven=True)
    assert "not compared" in (tmp_path / "out/README.md").read_text()


def test_a_licence_that_is_given_is_in_the_card(original):
    found = release.of_bundle(original, license_name=LICENSE)
    assert (
        f"Licence of the weights: {LICENSE}" in found.files["README.md"].read().decode()
    )
    assert release.of_bundle(original, license_name="mit").digest != found.digest


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("", "--to= found; expected: hf:ORG/NAME, kaggle:OWNER/MODEL/VARIATION, tar:D"),
        ("hf:", "--to=hf: found; expected: hf:ORG/NAME, "),
        ("s3:bucket", "--to=s3:bucket found; expected: hf:ORG/NAME, "),
        ("hf:name", "hf:name found; expected: hf:ORG/NAME"),
        ("hf:org/na me", "hf:org/na me: Repo id must use alphanumeric"),
        (
            "kaggle:owner/model",
            "kaggle:owner/model found; expected: kaggle:OWNER/MODEL/",
        ),
        (
            "kaggle:owner/mo del/x",
            "kaggle:owner/mo del/x found; expected: kaggle:OWNER",
        ),
    ],
)
def test_a_place_that_is_none(to, message, original):
    assert refused(original, to).startswith(message)


def test_options_of_another_place(original, tmp_path):
    message = refused(original, f"tar:{tmp_path}", private=True, revision="v1")
    assert message == "--private and --revision found; expected with hf: only"
    message = refused(original, "hf:org/name", overwrite=True)
    assert message == "--overwrite found; expected with kaggle:, tar:, dir: only"


def test_a_place_in_the_bundle_itself(copy):
    message = refused(copy, f"dir:{copy / 'inner'}")
    assert message == f"{copy / 'inner'} is in the bundle itself; name another place"


# A folder.


def test_a_folder_is_a_copy(original, tmp_path):
    out = tmp_path / "models/deit/1"
    done = published(original, f"dir:{out}")
    assert str(done).startswith(f"dir:{out}: sent: 7 files, ")
    assert str(done).endswith(f"; read back: the same\n{out}")
    ours, theirs = bundle.hashes(original), bundle.hashes(out)
    assert {**ours, "README.md": ""} == {**theirs, "README.md": ""}
    assert vit_tf.load(out).depth == 2
    assert tf.saved_model.load(str(out))(tf.zeros((1, 32, 32, 3))).shape == (1, 7)


def test_the_same_again_changes_nothing(original, tmp_path):
    for to in (f"dir:{tmp_path / 'out'}", f"tar:{tmp_path / 'archives'}"):
        published(original, to)
        before = tree(tmp_path)
        done = published(original, to)
        assert not done.sent
        assert f"{to}: unchanged: nothing sent; read back: the same" in str(done)
        assert tree(tmp_path) == before


def test_a_changed_bundle_replaces_the_former(original, tmp_path):
    more = changed(original, tmp_path / "more", **{"model.keras": b"one more format"})
    published(more, f"dir:{tmp_path / 'out'}")
    published(more, f"tar:{tmp_path}")
    assert published(original, f"dir:{tmp_path / 'out'}").sent
    assert published(original, f"tar:{tmp_path}").sent
    assert not (tmp_path / "out/model.keras").exists()
    found = archive.hashes(tmp_path / "deit_micro.tar.gz")
    assert found == bundle.hashes(tmp_path / "out")


def test_another_models_bundle_is_replaced_only_where_that_is_said(original, tmp_path):
    other = changed(original, tmp_path / "other")
    parity = json.loads((other / bundle.PARITY).read_text())
    rewritten(other, source=parity["source"] | {"uri": "random:1"})
    places = [f"dir:{tmp_path / 'out'}", f"tar:{tmp_path}"]
    for to in places:
        published(other, to)
    (tmp_path / "out/notes.txt").write_text("mine")
    before = tree(tmp_path)
    said = (
        "is not replaced: a bundle of deit_tiny_patch16_224 from random:1 found, of "
        "deit_tiny_patch16_224 from random:0 expected; "
    )
    notes = r"notes\.txt found, which no bundle wrote; "
    for to, also in zip(places, (notes, ""), strict=True):
        with pytest.raises(FileExistsError, match=f"{said}{also}--overwrite replaces"):
            published(original, to, dry_run=True)
    assert tree(tmp_path) == before
    for to in places:
        assert published(original, to, overwrite=True).sent
    assert not (tmp_path / "out/notes.txt").exists()


def test_what_does_not_say_what_it_is_stays(original, tmp_path):
    shutil.copytree(original, tmp_path / "out")
    (tmp_path / "out" / bundle.PARITY).write_text("")
    with pytest.raises(FileExistsError, match="it does not say what it is, in assets"):
        published(original, f"dir:{tmp_path / 'out'}")


def test_what_is_no_bundle_is_not_replaced(original, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("three years")
    (tmp_path / "deit_micro.md").write_text("notes")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex: not a bundle"):
        published(original, f"dir:{tmp_path / 'out'}")
    with pytest.raises(FileExistsError, match=r"deit_micro\.md is of something else"):
        published(original, f"tar:{tmp_path}")
    (tmp_path / "deit_micro.tar.gz").write_bytes(gzip.compress(b"no archive"))
    with pytest.raises(FileExistsError, match=r"gz is no archive of a bundle"):
        published(original, f"tar:{tmp_path}")
    (tmp_path / "deit_micro.tar.gz").unlink()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("to", "copies"),
    [("dir:{}/a/b/out", "shutil.copyfileobj"), ("tar:{}", "tarfile.copyfileobj")],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_nothing_stays_of_a_copy_that_is_stopped(
    error, to, copies, original, tmp_path, monkeypatch
):
    def stop(*arguments, **options):
        raise error

    monkeypatch.setattr(copies, stop)
    with pytest.raises(type(error) if isinstance(error, OSError) else error) as raised:
        published(original, to.format(tmp_path))
    assert tree(tmp_path) == {}
    if isinstance(error, OSError):
        assert raised.value.strerror == os.strerror(errno.ENOSPC)
        assert raised.value.filename.startswith(str(tmp_path))


def test_a_file_that_changes_while_it_is_copied(original, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.copyfileobj", lambda source, copy: copy.write(b"other"))
    waits = []
    message = refused(original, f"dir:{tmp_path / 'out'}", retries=2, wait=waits.append)
    assert message.endswith("saved_model.pb, variables/variables.data-00000-of-00001, "
                            "variables/variables.index changed in the copying; tried 3 "
                            "times")  # fmt: skip
    assert waits == [1, 2]
    assert tree(tmp_path) == {}


# An archive.


def test_an_archive_is_the_same_wherever_it_is_made(original, copy, tmp_path):
    same = shutil.move(copy, tmp_path / "elsewhere" / "deit_micro")
    for path in same.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    published(original, f"tar:{tmp_path / 'one'}")
    published(same, f"tar:{tmp_path / 'two'}")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with tarfile.open(tmp_path / "one/deit_micro.tar.gz") as opened:
        entries = opened.getmembers()
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname) for e in entries} == {
        (0, 0, 0, "", "")
    }
    assert "saved_model.pb" in [entry.name for entry in entries]
    assert (tmp_path / "one/deit_micro.tar.gz").stat().st_mode & 0o777 == 0o644
    documentation = (tmp_path / "one/deit_micro.md").read_text()
    assert f"<!-- license: {LICENSE} -->" in documentation


def test_tensorflow_hub_loads_the_archive(original, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    published(original, f"tar:{tmp_path}")
    content = (tmp_path / "deit_micro.tar.gz").read_bytes()
    with serving({"/deit_micro.tar.gz": Served(content)}) as (address, requests):
        folder = hub.resolve(f"{address}/deit_micro.tar.gz")
        assert hub.load(f"{address}/deit_micro.tar.gz")(
            tf.zeros((1, 32, 32, 3))
        ).shape == (1, 7)
    assert [path for path, _ in requests] == [
        "/deit_micro.tar.gz?tf-hub-format=compressed"
    ]
    expected = release.of_bundle(original, license_name=LICENSE)
    assert expected.differing(bundle.hashes(Path(folder))) == []
    assert vit_tf.load(folder).depth == 2


def test_a_documentation_that_is_missing_is_written(original, tmp_path):
    published(original, f"tar:{tmp_path}")
    written = (tmp_path / "deit_micro.md").read_bytes()
    (tmp_path / "deit_micro.md").unlink()
    done = published(original, f"tar:{tmp_path}")
    assert list(done.plan.files) == ["deit_micro.md"]
    assert (tmp_path / "deit_micro.md").read_bytes() == written


# The command.


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        command.run(["publish", *map(str, arguments)])
    return stopped.value.code, *capsys.readouterr()


def test_the_command_says_what_is_missing(capsys):
    code, out, _ = run(capsys)
    assert code == (
        "publish: error: --bundle is missing: the folder that convert.py wrote; --to "
        "is missing: where it goes"
    )
    assert out == ""


def test_the_command_refuses_in_one_line(capsys, original, tmp_path):
    code, out, err = run(capsys, f"--bundle={original}", f"--to=dir:{tmp_path / 'out'}")
    assert code == (
        f"publish: error: {original} is not published: the licence of its weights is "
        "not known; --license=NAME states it"
    )
    assert out + err == ""


def test_a_dry_run_shows_all_and_writes_nothing(capsys, original, tmp_path):
    arguments = ["publish", f"--bundle={original}", f"--license={LICENSE}", "--dry_run"]
    command.run([*arguments, f"--to=tar:{tmp_path / 'out'}"])
    out = capsys.readouterr().out
    assert out.startswith(f"tar:{tmp_path / 'out'}: would be sent: 2 files, ")
    assert "  deit_micro.tar.gz\n" in out
    assert f"Licence of the weights: {LICENSE}" in out
    assert tree(tmp_path) == {}
    command.run([*arguments[:-1], f"--to=tar:{tmp_path / 'out'}"])
    capsys.readouterr()
    command.run([*arguments, f"--to=tar:{tmp_path / 'out'}"])
    out = capsys.readouterr().out
    assert out == f"tar:{tmp_path / 'out'}: unchanged, nothing would be sent\n"


# What is tried again.


class Response:
    def __init__(self, status, **headers):
        self.status_code, self.headers = status, headers


class HTTPError(Exception):
    def __init__(self, status, **headers):
        super().__init__(f"{status} said\nthe   hub")
        self.response = Response(status, **headers)


class BackendError(Exception):
    pass


def attempts(*errors, retries=3):
    """What comes of an action that fails so, one error a try, and then returns."""
    errors, waits, said = list(errors), [], []

    def action():
        if errors:
            raise errors.pop(0)
        return "done"

    patience = dict(retries=retries, wait=waits.append, say=said.append)
    try:
        result = patiently(action, place="hf:a/b", **patience)
    except PublishError as error:
        result = str(error)
    return result, waits, said


def test_what_fails_by_chance_is_tried_again():
    broken = [
        HTTPError(503),
        ConnectionResetError(),
        HTTPError(429, **{"Retry-After": "9"}),
    ]
    result, waits, said = attempts(*broken)
    assert (result, waits) == ("done", [1, 2, 9])
    assert said[0] == "hf:a/b: 503: 503 said the hub; again in 1 s (1 of 3)"


def test_it_is_tried_so_often_and_no_more():
    result, waits, _ = attempts(*[HTTPError(500)] * 4, retries=2)
    assert result == "hf:a/b: 500: 500 said the hub; tried 3 times"
    assert waits == [1, 2]
    assert max(attempts(*[HTTPError(500)] * 12, retries=11)[1]) == 60


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            HTTPError(401),
            "401, not signed in, or the token is not valid (401 said the hub)",
        ),
        (HTTPError(403), "403, not allowed with this token (403 said the hub)"),
        (HTTPError(404), "404, not found (404 said the hub)"),
        (HTTPError(422), "422: 422 said the hub"),
        (BackendError("a bad name"), "a bad name"),
        (ValueError("a bad\ncard"), "a bad card"),
        (ValueError("x" * 400), "x" * 297 + "..."),
    ],
)
def test_what_fails_for_a_reason_is_one_line(error, message):
    assert attempts(error) == (f"hf:a/b: {message}", [], [])


def test_what_is_wrapped_is_looked_into():
    upload = RuntimeError("Error while uploading 'a'")
    upload.__cause__ = HTTPError(502)
    in_words = BackendError("Upload failed with status code 503: busy")
    assert attempts(upload, in_words, DifferentError("not yet"))[:2] == (
        "done",
        [1, 2, 4],
    )


def test_errors_of_ours_are_not_hidden():
    with pytest.raises(KeyError):
        attempts(KeyError("a mistake"))
