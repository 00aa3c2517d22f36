from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from leukemia_lab.data import cache, storage
from leukemia_lab.data.cache import cache_folder, decoded_images
from leukemia_lab.data.images import fit_square, read_rgb
from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.errors import CacheError, DataError

TreeFactory = Callable[..., Path]


@pytest.fixture
def index(class_tree: TreeFactory, tmp_path: Path) -> CellIndex:
    return read_index(Tree(class_tree(), "folder"), None, "error", tmp_path / "index")


def cache_file(cache_dir: Path) -> Path:
    (file,) = (cache_dir / "decoded").glob("*.u8")
    return file


def test_rows_are_the_resized_images_in_order(index: CellIndex, tmp_path: Path) -> None:
    images = decoded_images(index, 24, tmp_path)
    assert isinstance(images, np.memmap)
    assert (images.shape, images.dtype, images.flags.writeable) == ((8, 24, 24, 3), np.uint8, False)
    for row, cell_id in enumerate(index.table["cell_id"]):
        np.testing.assert_array_equal(images[row], fit_square(read_rgb(index.root / cell_id), 24))


def test_more_cells_than_a_block(class_tree: TreeFactory, tmp_path: Path) -> None:
    index = read_index(Tree(class_tree(cells=150, side=16), "folder"), None, "error", tmp_path)
    images = decoded_images(index, 8, tmp_path)
    last = index.table["cell_id"].iloc[-1]
    np.testing.assert_array_equal(images[299], fit_square(read_rgb(index.root / last), 8))


def test_second_call_decodes_nothing(
    index: CellIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = decoded_images(index, 24, tmp_path).copy()
    assert "Decoding to 24 px: 8 cells" in capsys.readouterr().err
    for cell_id in index.table["cell_id"]:
        (index.root / cell_id).unlink()
    np.testing.assert_array_equal(decoded_images(index, 24, tmp_path), first)
    assert capsys.readouterr().err == ""


def test_key_follows_content_order_and_size(index: CellIndex, tmp_path: Path) -> None:
    decoded_images(index, 24, tmp_path)
    decoded_images(index, 16, tmp_path)
    reversed_rows = index.table.iloc[::-1].reset_index(drop=True)
    decoded_images(replace(index, table=reversed_rows), 24, tmp_path)
    relabelled = index.table.assign(label="x")
    decoded_images(replace(index, table=relabelled), 24, tmp_path)  # labels are not pixels
    assert len(list((tmp_path / "decoded").glob("*.u8"))) == 3


@pytest.mark.parametrize("damage", ["bit", "short", "no note", "bad note"])
def test_damaged_cache_is_made_again(
    index: CellIndex, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = decoded_images(index, 24, tmp_path).copy()
    file = cache_file(tmp_path)
    data = bytearray(file.read_bytes())
    if damage == "bit":
        data[1000] ^= 1
        file.write_bytes(data)
    elif damage == "short":
        file.write_bytes(data[:-1])
    elif damage == "no note":
        file.with_suffix(".json").unlink()
    else:
        file.with_suffix(".json").write_text("{")
    capsys.readouterr()
    np.testing.assert_array_equal(decoded_images(index, 24, tmp_path), sound)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"The decoded cache {file} is damaged and is made again."
    assert len(lines) == 2  # this, and the end of the progress bar
    decoded_images(index, 24, tmp_path)
    assert capsys.readouterr().err == ""


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The blocks that checksums are taken of, as they are taken."""
    seen: list[bytes] = []
    crc32 = zlib.crc32

    def recording(data: bytes, value: int = 0) -> int:
        seen.append(data)
        return crc32(data, value)

    monkeypatch.setattr(cache.zlib, "crc32", recording)
    return seen


def test_checksum_is_taken_once_per_process(index: CellIndex, tmp_path: Path, checks: list[bytes]) -> None:
    built = decoded_images(index, 24, tmp_path).tobytes()
    checks.clear()
    for _ in range(3):
        assert decoded_images(index, 24, tmp_path).tobytes() == built
    assert checks == [built]


def test_damage_after_a_check_is_noticed(
    index: CellIndex, tmp_path: Path, checks: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        sound = decoded_images(index, 24, tmp_path).copy()
    file = cache_file(tmp_path)
    checked = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"\1")
    os.utime(file, ns=(checked.st_atime_ns, checked.st_mtime_ns + 1))
    assert file.stat().st_size == checked.st_size
    capsys.readouterr()
    np.testing.assert_array_equal(decoded_images(index, 24, tmp_path), sound)
    assert "is damaged and is made again" in capsys.readouterr().err
    # Made again within one tick of the clock: neither size nor time tells it from the damaged file.
    os.utime(file, ns=(checked.st_atime_ns, checked.st_mtime_ns + 1))
    decoded_images(index, 24, tmp_path)
    assert capsys.readouterr().err == ""


def test_changed_image_is_refused_and_leaves_nothing(index: CellIndex, tmp_path: Path) -> None:
    cell_id = index.table["cell_id"].iloc[3]
    Image.new("RGB", (64, 64)).save(index.root / cell_id)
    with pytest.raises(DataError, match=f"{cell_id} has changed since it was indexed"):
        decoded_images(index, 24, tmp_path)
    assert [path.suffix for path in (tmp_path / "decoded").iterdir()] == [".lock"]


def test_full_disk_is_a_cache_error(index: CellIndex, tmp_path: Path) -> None:
    """A limit on the size of files makes the write itself fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(
            CacheError, match=r"cannot write to the cache folder .*decoded: .*LEUKEMIA_LAB_CACHE"
        ):
            decoded_images(index, 24, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "decoded").glob("*.u8*[!k]"))
    assert decoded_images(index, 24, tmp_path).shape == (8, 24, 24, 3)


def test_cache_folder_under_a_file(index: CellIndex, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot write to the cache folder"):
        decoded_images(index, 24, tmp_path / "file")


def test_processes_at_once_decode_once(index: CellIndex, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from leukemia_lab.data.cache import decoded_images\n"
        "from leukemia_lab.data.index import Tree, read_index\n"
        "index = read_index(Tree(Path(sys.argv[1]), 'folder'), None, 'error', Path(sys.argv[2]))\n"
        "print(int(decoded_images(index, 24, Path(sys.argv[2])).sum()))"
    )
    command = [sys.executable, "-c", code, str(index.root), str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    expected = str(int(decoded_images(index, 24, tmp_path / "alone").sum()))
    assert [stdout.strip() for stdout, _ in outputs] == [expected, expected]
    assert sum(stderr.count("Decoding to 24 px: 8 cells") for _, stderr in outputs) == 1


def test_waiting_for_another_process_is_said(
    index: CellIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decoded_images(index, 24, tmp_path)
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.05)
    held = threading.Event()

    def hold() -> None:
        with FileLock(f"{cache_file(tmp_path)}.lock"):
            held.set()
            time.sleep(0.4)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    capsys.readouterr()
    decoded_images(index, 24, tmp_path)
    holder.join()
    assert "Waiting for another process" in capsys.readouterr().err


def test_cache_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LEUKEMIA_LAB_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "leukemia_lab"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache_folder() == Path("/var/caches/leukemia_lab")
    monkeypatch.setenv("LEUKEMIA_LAB_CACHE", "~/lab")
    assert cache_folder() == tmp_path / "lab"
