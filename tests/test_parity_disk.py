"""Arrays that wait in files while models are compared."""

import numpy as np
import pytest

from vit_tf.parity.disk import Disk, temporary_disk


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_what_is_kept_comes_back_from_its_file(tmp_path, shape, dtype):
    array = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    found = Disk(tmp_path).keep("blocks.0.attn", array)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


def test_each_array_has_a_file_of_its_own(tmp_path):
    arrays = {name: np.full(3, value) for value, name in enumerate(["a", "a/b", "."])}
    found = Disk(tmp_path).keep_all(arrays)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_first_stay_in_memory(tmp_path):
    disk = Disk(tmp_path, in_memory=100)
    first, second, third = (np.zeros(5) for _ in range(3))  # 40 bytes each
    assert disk.keep("a", first) is first
    assert disk.keep("b", second) is second
    assert isinstance(disk.keep("c", third), np.memmap)


def test_a_process_that_is_killed_leaves_no_file(tmp_path):
    kept = Disk(tmp_path).keep("a", np.ones(3))
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(kept, np.ones(3))


def test_a_disk_that_is_full_is_said_with_what_did_not_fit(tmp_path):
    (tmp_path / "0.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"0\.npy: 8\.0 MB of head\.weight could not be"):
        Disk(tmp_path).keep("head.weight", np.zeros(1_000_000))


def test_nothing_stays_behind():
    with temporary_disk() as disk:
        kept = disk.keep("logits", np.ones(3))
        folder = disk._folder
        assert folder.is_dir()
    assert not folder.exists()
    np.testing.assert_array_equal(kept, np.ones(3))  # what is mapped stays readable
