"""ImageNet's classes against timm's own reader, and every form of a label file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from i1k_sources import WNIDS, images, validation, write_folder
from scipy.io import savemat
from timm.data import ImageNetInfo, RealLabelsImagenet

from i1k_eval import labels
from i1k_eval.datasets import DatasetError, open_dataset
from i1k_eval.datasets.label_file import read_label_file

NAMES = [validation(i + 1) for i in range(3)]


@pytest.fixture
def flat(tmp_path):
    return write_folder(tmp_path / "flat", images(*NAMES))


def labels_of(dataset) -> list[set[int]]:
    return [set(example.labels) for example in dataset.examples()]


def test_classes_are_those_of_timm():
    info = ImageNetInfo()
    assert list(labels.wnids()) == info.label_names()
    assert list(labels.class_names()) == info.label_descriptions()


@pytest.mark.parametrize(
    ("num_classes", "name"),
    [
        (21843, "imagenet-21k-goog"),
        (21842, "imagenet-22k-ms"),
        (21841, "imagenet-22k"),
        (11821, "imagenet-12k"),
        (11221, "imagenet-21k-miil"),
    ],
)
def test_a_longer_list_holds_the_classes_where_timm_has_them(num_classes, name):
    places = labels.label_map(num_classes)
    known = ImageNetInfo(name).label_names()
    found = [known[place] if place >= 0 else "" for place in places]
    missing = {wnid for wnid in labels.wnids() if wnid not in known}
    assert found == ["" if wnid in missing else wnid for wnid in labels.wnids()]
    assert set(labels.not_in_list(num_classes)) == missing
    assert len(missing) < 10


@pytest.mark.parametrize("num_classes", [10, 1000, 21844])
def test_other_numbers_of_classes_have_no_map(num_classes):
    assert labels.label_map(num_classes) is None
    assert labels.not_in_list(num_classes) == ()


def test_what_is_known_of_other_data_sets():
    assert len(labels.subset("imagenet_a")) == len(labels.subset("imagenet_r")) == 200
    assert labels.subset("imagenet_v2") is None
    assert labels.subset("../imagenet_a") is None


def test_neither_timm_nor_torch_is_imported():
    code = (
        "import sys; from i1k_eval import labels; labels.label_map(21843);"
        "sys.exit('timm' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_timm_it_is_asked_for(flat, monkeypatch):
    labels._folder.cache_clear()
    labels.real_labels.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"are read from timm: pip install 'vit_tf"):
        open_dataset(flat, labels="real")


def test_real_labels_are_those_of_timm(flat):
    names = [validation(i + 1) for i in range(50_000)]
    timm = RealLabelsImagenet(names).real_labels
    assert [list(found) for found in labels.real_labels()] == list(timm.values())
    dataset = open_dataset(flat, labels="real")
    assert labels_of(dataset) == [set(timm[name]) for name in NAMES]
    assert labels_of(dataset) == [set(), {970, 795}, {230, 231}]
    assert dataset.imagenet
    assert dataset.classes is None
    assert dataset.notes == ("49997 of 50000 labels are of images not there",)


def ground_truth(folder, ids) -> str:
    write_folder(folder, {"ground_truth.txt": "\n".join(map(str, ids))})
    return str(folder / "ground_truth.txt")


def test_ids_of_the_devkit_go_by_its_meta_mat(flat, tmp_path):
    order = np.random.default_rng(0).permutation(1000)
    synsets = np.zeros(1002, [("ILSVRC2012_ID", "u2"), ("WNID", "O"), ("words", "O")])
    synsets["ILSVRC2012_ID"] = np.arange(1, 1003)
    synsets["WNID"] = [*(WNIDS[i] for i in order), "n00001740", "n00001930"]
    synsets["words"] = "words"
    file = ground_truth(tmp_path / "data", [1, 1000, 17])
    savemat(tmp_path / "data" / "meta.mat", {"synsets": synsets[:, None]})
    expected = [{order[0]}, {order[999]}, {order[16]}]
    assert labels_of(open_dataset(flat, labels=file)) == expected

    ground_truth(tmp_path / "data", [0, 1001, 5])
    with pytest.raises(DatasetError, match=r"no class with the id 0, 1001"):
        open_dataset(flat, labels=file)


def test_ids_without_meta_mat_are_refused(flat, tmp_path):
    file = ground_truth(tmp_path / "data", [1, 1000, 17])
    with pytest.raises(
        DatasetError, match=r"another order .* meta.mat.* is expected in"
    ):
        open_dataset(flat, labels=file)
    (tmp_path / "data" / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 20)
    with pytest.raises(DatasetError, match=r"meta\.mat is not the devkit's"):
        open_dataset(flat, labels=file)


def test_without_scipy_it_is_asked_for(flat, tmp_path, monkeypatch):
    file = ground_truth(tmp_path, [1, 1000, 17])
    (tmp_path / "meta.mat").touch()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match="needs scipy: pip install scipy"):
        open_dataset(flat, labels=file)


FORMS = {
    "val.txt": f"{NAMES[0]} 65\n{NAMES[1]} 970\n{NAMES[2]} 230\n",
    "paths.txt": f"val/{NAMES[0]} 65\nval/{NAMES[1]} 970\nval/{NAMES[2]} 230\n",
    "tabs.txt": f"{NAMES[0]}\t65\n{NAMES[1]}\t970\n{NAMES[2]}\t230\n",
    "synset_labels.txt": f"{WNIDS[65]}\n{WNIDS[970]}\n{WNIDS[230]}\n{WNIDS[65]}\n",
    "names.csv": f"file,label\n{NAMES[1]},970\n{NAMES[0]},65\n{NAMES[2]},230\n",
    "wnids.csv": "".join(
        f"{name},{WNIDS[i]}\n" for name, i in zip(NAMES, (65, 970, 230), strict=True)
    ),
    "LOC_val_solution.csv": "ImageId,PredictionString\n"
    + "".join(
        f"{name[:-5]},{WNIDS[i]} 1 2 3 4 {WNIDS[i]} 5 6 7 8 \n"
        for name, i in zip(NAMES, (65, 970, 230), strict=True)
    ),
    "wnids.tsv": f"{NAMES[0]}\t65\r\n{NAMES[1]}\t970\r\n{NAMES[2]}\t230\r\n",
    "real.json": "[[65], [970], [230]]",
    "names.json": json.dumps({NAMES[0]: 65, NAMES[1]: [970], NAMES[2]: "230"}),
    "bom.json": "\ufeff"
    + json.dumps({n: 65 + 905 * i for i, n in enumerate(NAMES[:2])}),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_label_files(form, flat, tmp_path):
    write_folder(tmp_path, {form: FORMS[form]})
    if form == "paths.txt":
        flat = write_folder(tmp_path / "above", images(*(f"val/{n}" for n in NAMES)))
    dataset = open_dataset(flat, labels=str(tmp_path / form), num_classes=1000)
    expected = [{65}, {970}, {230}] if form != "bom.json" else [{65}, {970}, set()]
    assert labels_of(dataset) == expected
    assert dataset.imagenet
    assert dataset.classes is None
    assert dataset.class_names[970] == labels.class_names()[970]


def test_labels_can_be_names_of_the_model(flat, tmp_path):
    table = "".join(
        f"{n},{c}\n" for n, c in zip(NAMES, ["dog", "cat", "dog"], strict=True)
    )
    write_folder(tmp_path, {"labels.csv": table})
    file = str(tmp_path / "labels.csv")
    dataset = open_dataset(flat, labels=file, label_names=["owl", "dog", "cat"])
    assert labels_of(dataset) == [{1}, {2}, {1}]
    assert not dataset.imagenet
    assert dataset.class_names == {1: "dog", 2: "cat"}
    assert labels_of(open_dataset(flat, labels=file)) == [{1}, {0}, {1}]
    with pytest.raises(DatasetError, match="the model has 10 classes, the data set 2"):
        open_dataset(flat, labels=file, num_classes=10)


def test_images_and_labels_without_each_other_are_said(flat, tmp_path):
    write_folder(tmp_path, {"val.txt": f"{NAMES[1]} 970\nother.png 5\n"})
    dataset = open_dataset(flat, labels=str(tmp_path / "val.txt"))
    assert labels_of(dataset) == [set(), {970}, set()]
    assert dataset.notes == (
        "2 of 3 images are not in the label file",
        "1 of 2 labels are of images not there",
    )


def test_one_name_for_two_images_is_refused(tmp_path):
    source = write_folder(tmp_path / "data", images("a/0.png", "b/0.png"))
    write_folder(
        tmp_path, {"bad.txt": "0.png 1\n", "good.txt": "a/0.png 1\nb/0.png 2\n"}
    )
    with pytest.raises(DatasetError, match=r"label of 0\.png is that of b/0\.png, and"):
        open_dataset(source, labels=str(tmp_path / "bad.txt"))
    dataset = open_dataset(source, labels=str(tmp_path / "good.txt"))
    assert labels_of(dataset) == [{1}, {2}]


BAD = {
    "empty.txt": (" \n", "has no labels"),
    "empty.csv": ("", "has no labels"),
    "empty.json": ("[]", "has no labels"),
    "nothing.json": ("[[], []]", "has no labels"),
    "broken.json": ('{"a": 1', "no JSON"),
    "deep.json": ("[" * 100_000, "no JSON"),
    "digits.json": ("[[" + "1" * 5000 + "]]", "no JSON"),
    "number.json": ("5", "expected a list of lists of class indices"),
    "words.json": (
        '{"a.png": {"label": 3}}',
        "expected an index or a name for a label",
    ),
    "twice.json": ('{"a.png": 1, "a.png": 2}', "two different labels for a.png"),
    "twice.csv": ("a.png,1\na.png,2\n", "two different labels for a.png"),
    "columns.csv": ("a.png,1,2\n", "expected a name and a label a line: a.png,1,2"),
    "mixed.txt": (
        "a.png 1\nb.png\n",
        "some lines end in an index .* and some do not: b",
    ),
    "mixed.csv": ("a.png,1\nb.png,cat\n", r"some labels are indices \(1\), and some"),
    "twice.txt": ("cat\ndog\ncat\n", "or each class once: cat"),
    "others.txt": ("x.png 1\ny.png 2\n", "labels are of none of the images, ILSVRC"),
    "none.csv": ("name,label\n", "has no labels"),
    "large.txt": (f"{NAMES[0]} 1000\n", "expected indices from 0 to 999, found 1000"),
    "unknown.csv": (f"{NAMES[0]},n99999999\n", "not among ImageNet-1k's .*: n99999999"),
    "bytes.txt": (b"\xff\xfe\x00", "labels cannot be read from"),
    "bytes.csv": ("a,b\n" + "x" * 200_000, "field larger than field limit"),
    "classes.txt": ("cat\ndog\n", "3 images lie in no class folder, and need --labels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_label_files_are_refused(name, flat, tmp_path):
    content, message = BAD[name]
    write_folder(tmp_path, {name: content})
    with pytest.raises(DatasetError, match=message):
        open_dataset(flat, labels=str(tmp_path / name), num_classes=1000)


def test_a_missing_label_file_is_named(flat, tmp_path):
    with pytest.raises(DatasetError, match=r"labels cannot be read from .*absent\.txt"):
        open_dataset(flat, labels=str(tmp_path / "absent.txt"))


def test_a_list_of_classes_gives_their_order(tmp_path):
    source = write_folder(tmp_path / "data", images("cat/0.png", "dog/0.png"))
    write_folder(tmp_path, {"classes.txt": "owl\ndog\ncat\n"})
    file = str(tmp_path / "classes.txt")
    dataset = open_dataset(source, labels=file)
    assert labels_of(dataset) == [{2}, {1}]
    assert dataset.classes is None
    with pytest.raises(DatasetError, match="the model has 5 classes, the list 3"):
        open_dataset(source, labels=file, num_classes=5)
    write_folder(tmp_path, {"classes.txt": "owl\ndog\n"})
    with pytest.raises(DatasetError, match="the list of classes has no cat"):
        open_dataset(source, labels=file)


def test_a_list_of_synsets_is_one_of_classes(tmp_path):
    write_folder(
        tmp_path, {"synsets.txt": "n02 x\nn01440764 tench\nn01443537 goldfish"}
    )
    assert (
        read_label_file(str(tmp_path / "synsets.txt")).classes[1] == "n01440764 tench"
    )
    write_folder(tmp_path, {"synsets.txt": "n01443537 goldfish\nn01440764 tench\n"})
    file = read_label_file(str(tmp_path / "synsets.txt"))
    assert file.classes == ("n01443537", "n01440764")
