"""Folders, tars, Parquet files and tfds as data sets; broken and hostile ones too."""

import bz2
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from i1k_sources import (
    WNIDS,
    encoded,
    images,
    validation,
    write_folder,
    write_tar,
)
from pyarrow import parquet
from timm.utils.misc import natural_key

from i1k_eval import labels
from i1k_eval.datasets import Dataset, DatasetError, open_dataset
from i1k_eval.datasets.classes import natural

PETS = images("cat/0.png", "cat/1.jpg", "dog/0.webp", "dog/a b.JPEG", "owl/ü.bmp")
PET_LABELS = [{0}, {0}, {1}, {1}, {2}]


@pytest.fixture
def pets(tmp_path):
    return write_folder(tmp_path / "pets", PETS)


def labels_of(dataset: Dataset) -> list[set[int]]:
    return [set(example.labels) for example in dataset.examples()]


def assert_resumable(dataset: Dataset):
    """Names are in order and unique, and any range is what a full pass has there."""
    whole = list(dataset.examples())
    assert [example.name for example in whole] == list(dataset.names)
    assert len(set(dataset.names)) == len(whole)
    for start in range(len(whole) + 2):
        assert list(dataset.examples(start)) == whole[start:]
        assert list(dataset.examples(start, 3)) == whole[start:3]


def assert_holds(dataset: Dataset, files: dict[str, bytes]):
    assert_resumable(dataset)
    found = {example.name: example.encoded for example in dataset.examples()}
    assert found == files
    assert not any(example.error for example in dataset.examples())


# Folders, and how classes are found


def test_a_folder_of_class_folders(pets):
    write_folder(
        Path(pets), {"cat/notes.txt": "x", ".git/a.png": b"x", "cat/._0.png": b""}
    )
    (Path(pets) / "empty").mkdir()
    dataset = open_dataset(pets)
    assert_holds(dataset, PETS)
    assert labels_of(dataset) == PET_LABELS
    assert (dataset.name, dataset.classes, dataset.imagenet) == (pets, None, False)
    assert dataset.class_names == {0: "cat", 1: "dog", 2: "owl"}
    assert labels_of(open_dataset(pets, num_classes=3)) == PET_LABELS


def test_a_split_is_a_folder(tmp_path, pets):
    dataset = open_dataset(str(tmp_path), split="pets")
    assert_holds(dataset, PETS)
    with pytest.raises(DatasetError, match="has no folder 'val'; it has pets"):
        open_dataset(str(tmp_path), split="val")
    with pytest.raises(DatasetError, match=r"lie deeper, as pets/cat/.*, or --split"):
        open_dataset(str(tmp_path))


def test_the_model_s_names_tell_classes(pets):
    names = ["fish", "owl", "dog", "cat"]
    dataset = open_dataset(pets, label_names=names)
    assert labels_of(dataset) == [{3}, {3}, {2}, {2}, {1}]
    assert dataset.classes is None  # all four count
    with pytest.raises(
        DatasetError, match=r"2 classes have names of .* has no owl; its"
    ):
        open_dataset(pets, label_names=["dog", "cat", "fish"])
    assert labels_of(open_dataset(pets, label_names=["a", "b", "c"])) == PET_LABELS
    with pytest.raises(DatasetError, match="3 label names, but 4 classes"):
        open_dataset(pets, label_names=["a", "b", "c"], num_classes=4)


@pytest.mark.parametrize("num_classes", [4, 1000, 21843])
def test_classes_that_are_not_the_model_s_are_refused(pets, num_classes):
    with pytest.raises(
        DatasetError, match=rf"the model has {num_classes} .*: cat, dog"
    ):
        open_dataset(pets, num_classes=num_classes)


def test_of_a_known_part_of_imagenet_only_its_classes_count(tmp_path):
    part = labels.subset("imagenet_a")
    files = images(*(f"{WNIDS[i]}/0.png" for i in part))
    dataset = open_dataset(write_folder(tmp_path / "a", files), num_classes=1000)
    assert dataset.classes == part
    assert dataset.notes == (f"only the logits of its {len(part)} classes count",)
    files = images(*(f"{WNIDS[i]}/0.png" for i in part[1:]))
    assert open_dataset(write_folder(tmp_path / "b", files)).classes is None


def test_wnids_are_imagenet_s_wherever_they_are(tmp_path):
    source = write_folder(
        tmp_path / "some", images(*(f"{WNIDS[i]}/0.png" for i in (900, 3, 41)))
    )
    for num_classes in (None, 1000, 21843):
        dataset = open_dataset(source, num_classes=num_classes)
        assert labels_of(dataset) == [{3}, {41}, {900}]
        assert dataset.classes is None
        assert dataset.imagenet
        assert dataset.class_names[3] == "tiger shark, Galeocerdo cuvieri"
    assert dataset.notes == (
        "no logit of the model's 21843 is that of the ImageNet classes n04399382",
    )
    own = open_dataset(source, num_classes=3)
    assert labels_of(own) == [{0}, {1}, {2}]
    assert (own.classes, own.imagenet) == (None, False)
    with pytest.raises(
        DatasetError, match=r"has 7 classes, the data set 3 of ImageNet"
    ):
        open_dataset(source, num_classes=7)
    write_folder(tmp_path / "some", {"n00000001/0.png": encoded(0)})
    with pytest.raises(DatasetError, match=r"not among ImageNet-1k's .*: n00000001"):
        open_dataset(source)


def test_all_of_imagenet(tmp_path):
    shuffled = sorted(WNIDS, key=lambda wnid: wnid[::-1])
    source = write_folder(tmp_path, images(*(f"{wnid}/0.png" for wnid in shuffled)))
    dataset = open_dataset(source)
    assert labels_of(dataset) == [{i} for i in range(1000)]
    assert dataset.classes is None


def test_imagenet_v2_s_folders_are_indices(tmp_path):
    paths = [f"v2/{i}/{i}.jpeg" for i in range(1000)]
    source = write_tar(tmp_path / "v2.tar.gz", dict.fromkeys(paths, b"x"), "w:gz")
    for num_classes in (None, 1000, 21843):
        dataset = open_dataset(source, num_classes=num_classes)
        assert labels_of(dataset) == [{i} for i in range(1000)]
        assert dataset.names[10] == "10/10.jpeg"
        assert dataset.classes is None
        assert dataset.imagenet == (num_classes is not None)


def test_numbers_that_leave_some_out_are_indices(tmp_path):
    source = write_folder(tmp_path / "some", images("3/0.png", "12/0.png"))
    dataset = open_dataset(source, num_classes=20)
    assert labels_of(dataset) == [{12}, {3}]
    assert dataset.classes is None
    with pytest.raises(DatasetError, match=r"has 5 classes, and the .* go up to 12"):
        open_dataset(source, num_classes=5)
    with pytest.raises(DatasetError, match="timm takes the classes in the order 3, 12"):
        open_dataset(source)
    write_folder(tmp_path / "some", images("003/0.png"))
    with pytest.raises(DatasetError, match="two classes have one number: "):
        open_dataset(source, num_classes=20)


@pytest.mark.parametrize(
    "names", [("1", "2", "10"), ("a2", "a10"), ("B", "a"), ("x9", "x1" + "0" * 99)]
)
def test_where_timm_and_torchvision_differ_the_order_is_asked_for(names, tmp_path):
    source = write_folder(tmp_path, images(*(f"{name}/0.png" for name in names)))
    with pytest.raises(
        DatasetError, match=r"timm takes .* torchvision .*--labels=FILE"
    ):
        open_dataset(source)


def test_where_they_agree_the_order_is_theirs(tmp_path):
    names = ["x8", "b_", "a", "b1", "é", "x007"]
    source = write_folder(tmp_path, images(*(f"{name}/0.png" for name in names)))
    found = open_dataset(source).class_names
    assert list(found.values()) == sorted(names) == sorted(names, key=natural_key)


@given(st.lists(st.text("aB10 _é", max_size=6)))
def test_natural_order_is_timm_s(names):
    assert sorted(names, key=natural) == sorted(names, key=natural_key)


def test_subsets_of_imagenet_are_known_by_their_words(tmp_path):
    names = ["tench", "English springer", "cassette player"]
    source = write_folder(tmp_path / "some", images(*(f"{n}/0.png" for n in names)))
    dataset = open_dataset(source, num_classes=1000)
    assert labels_of(dataset) == [{217}, {482}, {0}]
    assert dataset.imagenet
    write_folder(tmp_path / "some", images("crane/0.png"))  # a bird and a machine
    with pytest.raises(DatasetError, match="neither the model's nor ImageNet's: "):
        open_dataset(source, num_classes=1000)


def test_images_in_no_class_folder_need_labels(tmp_path):
    source = write_folder(tmp_path, images("a.png", "cat/b.png"))
    with pytest.raises(
        DatasetError, match=r"1 images lie in no class folder.*: a\.png"
    ):
        open_dataset(source)


def test_no_images(tmp_path):
    with pytest.raises(DatasetError, match="has no images; its files are: none"):
        open_dataset(str(tmp_path))
    write_folder(tmp_path, {"a.txt": "x", "cat/b.txt": "x"})
    with pytest.raises(DatasetError, match=r"its files are: a\.txt, cat/b\.txt"):
        open_dataset(str(tmp_path))
    with pytest.raises(DatasetError, match=r"there is no .*absent"):
        open_dataset(str(tmp_path / "absent"))
    with pytest.raises(DatasetError, match=r"a\.txt is no whole tar: "):
        open_dataset(str(tmp_path / "a.txt"))
    with pytest.raises(DatasetError, match="has no splits, and 'val' was asked for"):
        open_dataset(str(tmp_path / "a.txt"), split="val")


def test_a_folder_that_cannot_be_listed(pets, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot be read: .*Permission denied"):
        open_dataset(pets)


def test_what_cannot_be_read_is_an_example_with_its_error(pets, monkeypatch):
    (Path(pets) / "cat/0.png").unlink()
    (Path(pets) / "cat/0.png").symlink_to("absent.png")
    os.mkfifo(Path(pets) / "dog/pipe.png")
    with open(Path(pets) / "owl/large.png", "wb") as file:
        file.truncate((1 << 30) + 1)
    dataset = open_dataset(pets)
    assert_resumable(dataset)
    errors = {e.name: e.error for e in dataset.examples() if e.error}
    assert errors == {
        "cat/0.png": "No such file or directory",
        "dog/pipe.png": "no regular file",
        "owl/large.png": "1073741825 bytes are more than an image's, 1073741824",
    }
    assert all(not e.encoded and e.labels for e in dataset.examples() if e.error)


def test_links_are_followed_and_loops_are_not(pets, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "cat").symlink_to(Path(pets) / "cat")
    (Path(pets) / "cat" / "loop").symlink_to(linked)
    found = {name: content for name, content in PETS.items() if "cat" in name}
    assert_holds(open_dataset(str(linked)), found)


def test_names_that_cannot_be_printed(tmp_path):
    name = os.fsdecode(b"cat/\xff\x1b[31m\n.png")
    write_folder(tmp_path, {name: b"x"})
    dataset = open_dataset(str(tmp_path))
    assert list(dataset.names) == [r"cat/\udcff\x1b[31m\n.png"]
    assert [example.encoded for example in dataset.examples()] == [b"x"]


# Tars


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("above", ["", "./", "data/val/", "/abs/", "../../"])
def test_a_tar_of_class_folders(mode, above, tmp_path):
    files = {above + path: content for path, content in PETS.items()}
    files |= {above + "cat/notes.txt": b"x", above + "dog/._0.png": b"x"}
    dataset = open_dataset(write_tar(tmp_path / "pets.tar", files, mode))
    assert_holds(dataset, PETS)
    assert labels_of(dataset) == PET_LABELS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets.tar"]


@pytest.mark.parametrize("above", ["", "val/"])
def test_a_flat_tar_with_its_labels(above, tmp_path):
    files = images(*(above + validation(i) for i in (3, 1, 2)))
    source = write_tar(tmp_path / "ILSVRC2012_img_val.tar", files)
    dataset = open_dataset(source, labels="real")
    assert_holds(dataset, files)
    assert labels_of(dataset) == [{230, 231}, set(), {970, 795}]
    if not above:
        with pytest.raises(DatasetError, match="3 images lie in no class folder"):
            open_dataset(source)


def test_links_in_a_tar_are_the_images_that_they_link_to(tmp_path):
    file = tmp_path / "pets.tar"
    links = {
        "dog/hard.png": (tarfile.LNKTYPE, "cat/0.png"),
        "dog/soft.png": (tarfile.SYMTYPE, "../cat/1.jpg"),
        "owl/out.png": (tarfile.SYMTYPE, "/etc/passwd"),
        "owl/self.png": (tarfile.SYMTYPE, "self.png"),
        "owl/pipe.png": (tarfile.FIFOTYPE, ""),
    }
    write_tar(file, PETS)
    with tarfile.open(file, "a") as archive:
        for name, (kind, target) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    dataset = open_dataset(str(file))
    assert_resumable(dataset)
    found = {example.name: example for example in dataset.examples()}
    assert found["dog/hard.png"].encoded == PETS["cat/0.png"]
    assert found["dog/soft.png"].encoded == PETS["cat/1.jpg"]
    assert found["dog/soft.png"].labels == {1}
    assert {name: e.error for name, e in found.items() if e.error} == {
        "owl/out.png": "a link to /etc/passwd, which is no image in the tar",
        "owl/self.png": "a link to owl/self.png, which is no image in the tar",
        "owl/pipe.png": "no regular file",
    }


def test_a_tar_that_breaks_off_is_refused(tmp_path):
    whole = Path(write_tar(tmp_path / "whole.tar", PETS)).read_bytes()
    end = whole.index(PETS["owl/ü.bmp"])
    for size in (100, 700, 1024, end - 512, end - 100, end, end + 20):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match=r"cut\.tar is no whole tar: "):
            open_dataset(str(cut))
        for compress in (gzip.compress, bz2.compress):
            cut.write_bytes(compress(whole[:size]))
            with pytest.raises(DatasetError, match=r"cut\.tar is no whole tar: "):
                open_dataset(str(cut))
    cut.write_bytes(gzip.compress(whole, mtime=0)[:-60])
    with pytest.raises(DatasetError, match=r"cut\.tar is no whole tar: "):
        open_dataset(str(cut))


def test_a_broken_header_is_not_taken_for_the_end(tmp_path):
    file = Path(write_tar(tmp_path / "pets.tar", PETS))
    content = bytearray(file.read_bytes())
    content[content.index(b"dog/0.webp")] = 0x45
    file.write_bytes(content)
    with pytest.raises(
        DatasetError, match="breaks off, or is broken, behind 2 members"
    ):
        open_dataset(str(file))


def test_a_tar_that_changes_gives_errors(tmp_path):
    file = Path(write_tar(tmp_path / "pets.tar", PETS))
    dataset = open_dataset(str(file))
    content = file.read_bytes()
    file.write_bytes(content[: content.index(PETS["dog/0.webp"]) + 20])
    errors = [example.error for example in dataset.examples()]
    size = len(PETS["dog/0.webp"])
    assert errors[:3] == ["", "", f"20 bytes are left of {size}"]
    assert all(errors[3:])
    file.unlink()
    assert [e.error for e in dataset.examples(3)] == ["No such file or directory"] * 2


def test_a_tar_with_a_name_twice_or_no_images(tmp_path):
    file = write_tar(tmp_path / "pets.tar", PETS)
    with tarfile.open(file, "a") as archive:
        archive.addfile(tarfile.TarInfo("cat/0.png"))
    with pytest.raises(DatasetError, match=r"pets\.tar has two files named cat/0\.png"):
        open_dataset(file)
    file = write_tar(tmp_path / "none.tar", {"n01440764.tar": b"x"})
    with pytest.raises(DatasetError, match=r"has no images; it has: n01440764\.tar"):
        open_dataset(file)
    (tmp_path / "empty.tar").touch()
    with pytest.raises(DatasetError, match=r"empty\.tar is no whole tar"):
        open_dataset(str(tmp_path / "empty.tar"))


def test_an_inflated_giant_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("i1k_eval.datasets.files.LARGEST", 1 << 24)
    member = tarfile.TarInfo("cat/bomb.png")
    member.size = 1 << 26
    content = member.tobuf() + bytes(member.size + 1024)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(content, 1))
    del content
    tracemalloc.start()
    [example] = open_dataset(str(tmp_path / "bomb.tar.gz")).examples()
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    assert "are more than an image's" in example.error


# Parquet


def table(count: int = 7, names=("cat", "dog", "owl"), **options) -> pa.Table:
    rows = {
        "image": [
            {"bytes": encoded(i), "path": validation(i + 1)} for i in range(count)
        ],
        "label": [i % 3 for i in range(count)],
    }
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(names)},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    found = pa.table(rows | options)
    return found.replace_schema_metadata(metadata if names else None)


def write_parquet(file: Path, rows: pa.Table, group: int = 3) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(rows, file, row_group_size=group)
    return str(file)


def test_a_parquet_file(tmp_path):
    file = write_parquet(tmp_path / "test.parquet", table())
    dataset = open_dataset(file)
    assert_holds(dataset, {f"row {i} of {file}": encoded(i) for i in range(7)})
    assert labels_of(dataset) == [{i % 3} for i in range(7)]
    assert dataset.class_names == {0: "cat", 1: "dog", 2: "owl"}
    renamed = open_dataset(file, label_names=["owl", "cat", "dog"])
    assert labels_of(renamed)[:3] == [{1}, {2}, {0}]
    with pytest.raises(DatasetError, match=r"test\.parquet: the model has 10 classes"):
        open_dataset(file, num_classes=10)


def test_shards_by_folder_pattern_and_split(tmp_path):
    for split, shard in [("test", 0), ("test", 1), ("train", 0)]:
        file = tmp_path / "data" / f"{split}-{shard:05d}-of-00002.parquet"
        write_parquet(file, table(shard + 2))
    for source, split in [
        (str(tmp_path), "test"),
        (str(tmp_path / "data/test-*.parquet"), ""),
        (str(tmp_path / "data/*.parquet"), "test"),
    ]:
        dataset = open_dataset(source, split=split)
        assert_resumable(dataset)
        assert len(dataset.names) == 5
        assert "test-00001-of-00002" in dataset.names[4]
    with pytest.raises(DatasetError, match=r"expected --split of .*: test, train"):
        open_dataset(str(tmp_path))
    with pytest.raises(DatasetError, match=r"expected --split of .*: test, train"):
        open_dataset(str(tmp_path), split="validation")


def test_wnids_and_imagenet_s_order_in_parquet(tmp_path):
    names = [WNIDS[9], WNIDS[4], WNIDS[7]]
    file = write_parquet(tmp_path / "a.parquet", table(3, names))
    dataset = open_dataset(file, num_classes=1000)
    assert labels_of(dataset) == [{9}, {4}, {7}]
    assert (dataset.classes, dataset.imagenet) == (None, True)
    names = [str(i) for i in range(1000)]
    file = write_parquet(tmp_path / "b.parquet", table(3, names))
    dataset = open_dataset(file, num_classes=21843)
    assert (dataset.classes, dataset.imagenet) == (None, True)


def test_another_spelling_in_the_same_order(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", table(3))
    dataset = open_dataset(file, label_names=["cat", "dog", "owl, strix"])
    assert labels_of(dataset) == [{0}, {1}, {2}]
    with pytest.raises(DatasetError, match=r"2 classes have names .* has no owl; its"):
        open_dataset(file, label_names=["dog", "cat", "owl, strix"])


def test_columns_of_other_names_and_kinds(tmp_path):
    bare = pa.table({"image": [encoded(0), encoded(1)], "label": [4, None]})
    dataset = open_dataset(write_parquet(tmp_path / "bare.parquet", bare))
    assert labels_of(dataset) == [{4}, set()]
    assert [e.encoded for e in dataset.examples()] == [encoded(0), encoded(1)]
    many = table(2, (), label=[[1, 2], [0, -1]])
    dataset = open_dataset(write_parquet(tmp_path / "many.parquet", many))
    assert labels_of(dataset) == [{1, 2}, {0}]
    text = table(2, (), label=["owl", "cat"])
    dataset = open_dataset(write_parquet(tmp_path / "text.parquet", text))
    assert labels_of(dataset) == [{1}, {0}]
    features = {
        "img": {"_type": "Image"},
        "fine": {"_type": "ClassLabel", "names": ["a"]},
    }
    other = table(2, (), label=[0, -1]).rename_columns(["img", "fine"])
    other = other.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    dataset = open_dataset(write_parquet(tmp_path / "other.parquet", other))
    assert labels_of(dataset) == [{0}, set()]


def test_real_labels_of_a_parquet_file(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", table(3, WNIDS[:3]))
    assert labels_of(open_dataset(file, labels="real")) == [
        set(),
        {970, 795},
        {230, 231},
    ]
    write_folder(tmp_path, {"val.txt": f"{validation(1)} 3\n"})
    with pytest.raises(
        DatasetError, match="go by file names: expected a folder or tar"
    ):
        open_dataset(file, labels=str(tmp_path / "val.txt"))
    rows = [{"bytes": encoded(0), "path": "0.png"}]
    file = write_parquet(tmp_path / "b.parquet", table(1, image=rows))
    with pytest.raises(DatasetError, match="no path in its column 'image' has one"):
        open_dataset(file, labels="real")


def test_a_parquet_file_without_rows(tmp_path):
    for names in ((), ("cat", "dog")):
        file = write_parquet(tmp_path / "a.parquet", table(1, names).slice(1))
        with pytest.raises(DatasetError, match=r"a\.parquet has no images"):
            open_dataset(file)


def test_rows_without_bytes(tmp_path):
    rows = [{"bytes": None, "path": "0.png"}, None, {"bytes": b"x", "path": None}]
    file = write_parquet(tmp_path / "a.parquet", table(3, image=rows))
    found = [(e.encoded, e.error) for e in open_dataset(file).examples()]
    assert found == [(b"", "the row has no bytes")] * 2 + [(b"x", "")]


def test_a_broken_row_group_gives_errors_for_its_rows_only(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", table(9))
    group = parquet.ParquetFile(file).metadata.row_group(1)
    column = next(
        group.column(i)
        for i in range(group.num_columns)
        if group.column(i).path_in_schema == "image.bytes"
    )
    content = bytearray(Path(file).read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    Path(file).write_bytes(content)
    dataset = open_dataset(file)
    assert_resumable(dataset)
    errors = [bool(example.error) for example in dataset.examples()]
    assert errors == [False] * 3 + [True] * 3 + [False] * 3


BAD_PARQUET = {
    "columns": (
        pa.table({"a": [1], "label": [1]}),
        "expected a column 'image', or one",
    ),
    "label": (
        pa.table({"image": [b"x"], "b": [1]}),
        "'label', or one ClassLabel; it has",
    ),
    "path": (
        pa.table({"image": ["a.png"], "label": [1]}),
        "expected bytes .*found string",
    ),
    "float": (pa.table({"image": [b"x"], "label": [0.5]}), "expected integers or text"),
    "hub": (
        table(1).replace_schema_metadata({"huggingface": "[]"}),
        "metadata are broken",
    ),
    "json": (
        table(1).replace_schema_metadata({"huggingface": "{"}),
        "metadata are broken",
    ),
}


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_bad_parquet_files(name, tmp_path):
    rows, message = BAD_PARQUET[name]
    file = write_parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(
        DatasetError, match=rf"a\.parquet is not as expected: .*{message}"
    ):
        open_dataset(file)


def test_broken_and_different_parquet_files(tmp_path):
    write_parquet(tmp_path / "a.parquet", table())
    write_parquet(tmp_path / "b.parquet", table(names=("x", "y", "z")))
    with pytest.raises(
        DatasetError, match=r"has other columns or classes than .*b\.par"
    ):
        open_dataset(str(tmp_path / "*.parquet"))
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-30])
    with pytest.raises(DatasetError, match=r"cut\.parquet is not as expected: "):
        open_dataset(str(tmp_path / "cut.parquet"))


# tensorflow-datasets


FEATURES = {
    "image": tfds.features.Image(encoding_format="png"),
    "label": tfds.features.ClassLabel(names=WNIDS[::-1]),
    "file_name": tfds.features.Text(),
}


def row(i: int) -> dict:
    label = -1 if i == 5 else i % 3
    name = validation(i + 1)
    return {"image": io.BytesIO(encoded(i)), "label": label, "file_name": name}


def write_tfds(
    data_dir: Path, name: str, features=FEATURES, supervised=None, **splits
) -> Path:
    """Writes a data set as tfds does, each split in three files."""

    class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        @classmethod
        def _get_pkg_dir_path(cls):
            return Path(__file__).parent

        def _info(self):
            found = tfds.features.FeaturesDict(features)
            return self.dataset_info_from_configs(
                features=found, supervised_keys=supervised
            )

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(splits[name]) for name in splits}

        def _generate_examples(self, rows):
            yield from enumerate(rows)

    Written.name = name
    builder = Written(data_dir=data_dir)
    options = tfds.download.DownloadConfig(num_shards=3)
    builder.download_and_prepare(download_config=options)
    return data_dir / name / "1.0.0"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    splits = {"train": range(3), "validation": range(12)}
    write_tfds(folder, "imagenet_a", **{k: map(row, splits[k]) for k in splits})
    return folder


@pytest.fixture
def data_dir(prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path / "tfds")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def test_a_data_set_of_tfds(data_dir):
    dataset = open_dataset("tfds:imagenet_a", num_classes=1000)
    assert list(dataset.names) == [f"validation[{i}]" for i in range(12)]
    assert_resumable(dataset)
    found = {example.encoded: set(example.labels) for example in dataset.examples()}
    expected = {encoded(i): {999 - i % 3} for i in range(12)}
    assert found == expected | {encoded(5): set()}
    assert dataset.imagenet
    assert dataset.classes == labels.subset("imagenet_a")
    folder = data_dir / "imagenet_a"
    shutil.copytree(folder, data_dir / "imagenet_v2" / "matched-frequency")
    assert open_dataset("tfds:imagenet_v2").classes is None


@pytest.mark.parametrize("label", ["real_label", "correct_multi_labels"])
def test_lists_of_labels_in_tfds_come_before_the_original_label(data_dir, label):
    several = tfds.features.Sequence(FEATURES["label"])
    features = {"image": FEATURES["image"], "original_label": FEATURES["label"]}
    features |= {label: several, "wrong_multi_labels": several}
    rows = [
        {
            "image": io.BytesIO(encoded(i)),
            "original_label": 0,
            label: list(range(i)),
            "wrong_multi_labels": [0],
        }
        for i in range(3)
    ]
    write_tfds(data_dir, "real", features, ("image", label), validation=rows)
    dataset = open_dataset("tfds:real", num_classes=1000)
    found = {example.encoded: set(example.labels) for example in dataset.examples()}
    expected = (set(), {999}, {999, 998})
    assert found == {encoded(i): expected[i] for i in range(3)}
    write_tfds(data_dir, "unsaid", features, validation=rows)
    with pytest.raises(DatasetError, match=r"images \['image'\], labels \["):
        open_dataset("tfds:unsaid")


def test_splits_versions_and_folders_of_tfds(data_dir):
    assert len(open_dataset("tfds:imagenet_a:1.0.0", split="train").names) == 3
    folder = data_dir / "imagenet_a" / "1.0.0"
    assert len(open_dataset(f"tfds:{folder}").names) == 12
    with pytest.raises(DatasetError, match="no split 'test'; it has train, validation"):
        open_dataset("tfds:imagenet_a", split="test")
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        shutil.copytree(folder, data_dir / "sets" / "b" / version)
    (data_dir / "sets/b/1.10.0/dataset_info.json").write_text("newest")
    with pytest.raises(DatasetError, match=r"sets/b/1\.10\.0 is no data set of tfds"):
        open_dataset("tfds:sets")
    shutil.rmtree(data_dir / "sets/b/1.10.0")
    assert len(open_dataset("tfds:sets").names) == 12
    shutil.copytree(folder, data_dir / "sets" / "a" / "1.0.0")
    with pytest.raises(DatasetError, match="configurations: tfds:sets/a, tfds:sets/b"):
        open_dataset("tfds:sets")


def test_what_is_not_on_disk_is_not_downloaded(data_dir, monkeypatch):
    for name in ("imagenet_v2/topimages", "imagenet_a:2.0.0"):
        with pytest.raises(
            DatasetError, match=r"is not on disk: looked for .*tfds/imag"
        ):
            open_dataset(f"tfds:{name}")
    monkeypatch.delenv("TFDS_DATA_DIR")
    with pytest.raises(DatasetError, match=r"looked for .*tensorflow_datasets/mnist"):
        open_dataset("tfds:mnist")


def test_labels_of_tfds_by_file_name(data_dir, tmp_path):
    dataset = open_dataset("tfds:imagenet_a", labels="real", split="train")
    found = {example.encoded: set(example.labels) for example in dataset.examples()}
    expected = (set(), {970, 795}, {230, 231})
    assert found == {encoded(i): expected[i] for i in range(3)}
    assert dataset.classes is None
    write_folder(tmp_path, {"val.txt": f"{validation(1)} 3\n"})
    with pytest.raises(DatasetError, match="go by file names, which it does not have"):
        open_dataset("tfds:imagenet_a", labels=str(tmp_path / "val.txt"))


def test_a_broken_shard_of_tfds_gives_errors_for_its_rows_only(data_dir):
    shard = "imagenet_a/1.0.0/imagenet_a-validation.tfrecord-0000{}-of-00003"
    file = data_dir / shard.format(1)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    dataset = open_dataset("tfds:imagenet_a")
    errors = [bool(example.error) for example in dataset.examples()]
    assert [e.name for e in dataset.examples()] == list(dataset.names)
    assert not any(errors[:4] + errors[8:])
    assert errors[7]
    file.unlink()
    errors = [bool(example.error) for example in dataset.examples(2)]
    assert errors == [False] * 2 + [True] * 4 + [False] * 4


def test_broken_and_other_data_sets_of_tfds(data_dir):
    folder = data_dir / "imagenet_a" / "1.0.0"
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DatasetError, match="is no data set of tfds: "):
        open_dataset("tfds:imagenet_a")
    text = {"text": tfds.features.Text()}
    write_tfds(data_dir, "text", text, other=[{"text": "a"}] * 3)
    with pytest.raises(
        DatasetError, match=r"or features named .* it has images \[\], l"
    ):
        open_dataset("tfds:text")


# Libraries that are not there


@pytest.mark.parametrize(
    ("source", "library"),
    [("tfds:imagenet_a", "tensorflow_datasets"), ("a.parquet", "pyarrow")],
)
def test_a_missing_library_is_asked_for(source, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DatasetError, match=rf"{source}: pip install 'vit_tf\[eval\]'"):
        open_dataset(source)
