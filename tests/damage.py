"""What may happen to the files and tables of a tree of cells: each damage is done by a random choice."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from audit_trees import write_rows
from PIL import Image

Damage = Callable[[Path, random.Random], None]


def read_rows(file: Path) -> list[list[str]]:
    """The rows of a table in whatever encoding, as well as can be."""
    data = file.read_bytes()
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    return list(csv.reader(text.replace("\0", "").splitlines()))


def entries(root: Path) -> list[Path]:
    """All that is no real folder, broken links too, without what no folder lets see."""
    return sorted(
        Path(folder, name)
        for folder, subfolders, names in os.walk(root)
        for name in [*names, *(name for name in subfolders if Path(folder, name).is_symlink())]
    )


def some(root: Path, rng: random.Random, *, table: bool = False) -> Path:
    """A plain file that can be read: a table, or any file; the root where there is none."""
    found = [
        path
        for path in entries(root)
        if os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises in a folder without rights
        and os.access(path, os.R_OK)
        and not (table and path.suffix.lower() != ".csv")
    ]
    return rng.choice(found) if found else root


def on_a_file(damage: Damage) -> Damage:
    def damaged(root: Path, rng: random.Random) -> None:
        file = some(root, rng)
        if file != root:
            damage(file, rng)

    damaged.__name__ = damage.__name__
    return damaged


def on_a_table(change: Callable[[list[list[str]], random.Random], list[list[str]]]) -> Damage:
    def damaged(root: Path, rng: random.Random) -> None:
        file = some(root, rng, table=True)
        if file != root:
            rows = read_rows(file)
            write_rows(file, change(rows, rng) if len(rows) > 1 else [["cell", "class"], ["x.png", "y"]])

    damaged.__name__ = change.__name__
    return damaged


@on_a_file
def flip_bits(file: Path, rng: random.Random) -> None:
    """A few bits anywhere, or in the header alone."""
    data = bytearray(file.read_bytes())
    reach = rng.choice([64, len(data)])
    for _ in range(rng.randint(1, 8) if data else 0):
        data[rng.randrange(min(reach, len(data)))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


@on_a_file
def truncate(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randint(0, file.stat().st_size))


@on_a_file
def empty(file: Path, rng: random.Random) -> None:
    file.write_bytes(b"")


@on_a_file
def append(file: Path, rng: random.Random) -> None:
    with file.open("ab") as out:
        out.write(rng.randbytes(rng.choice([1, 100])))


@on_a_file
def rename(file: Path, rng: random.Random) -> None:
    names = [
        ".hidden.bmp", "x.bmp", "x", file.name.upper(), file.stem + ".txt", "UID_9_1_1_all.bmp", "a\nb.png",
        "[red]<b>&amp;.png", "ä\u202e.jpg", os.fsdecode(b"\xff.bmp"), "n" * 240 + ".png", "prelim.csv", "7.bmp",
    ]  # fmt: skip
    target = file.with_name(rng.choice(names))
    if not os.path.lexists(target):
        file.rename(target)


def rename_folder(root: Path, rng: random.Random) -> None:
    folder = some(root, rng).parent
    target = folder.with_name(rng.choice(["fold_7", ".git", "ALL", "hem", "new folder", "final_phase"]))
    if folder not in (root, root.parent) and not os.path.lexists(target):
        folder.rename(target)


@on_a_file
def delete(file: Path, rng: random.Random) -> None:
    file.unlink()


def duplicate(root: Path, rng: random.Random) -> None:
    """To another folder, or beside it under another name."""
    file, folder = some(root, rng), some(root, rng).parent
    target = folder / rng.choice([file.name, f"copy of {file.name}", f"UID_8_1_{rng.randint(1, 9)}_hem.bmp"])
    if root not in (file, folder / root.name) and not os.path.lexists(target):
        shutil.copy(file, target)


def duplicate_folder(root: Path, rng: random.Random) -> None:
    folder = some(root, rng).parent
    target = root / f"again {rng.randint(1, 3)}" / folder.parent.name / folder.name
    if folder not in (root, root.parent) and not os.path.lexists(target):
        pipes = [path.name for path in entries(folder) if path.is_fifo()]  # a copy would wait for a writer
        shutil.copytree(folder, target, symlinks=True, ignore=lambda *_: pipes)


@on_a_file
def become_text(file: Path, rng: random.Random) -> None:
    file.write_text(rng.choice(["BM", "hello\n", "<html></html>", "a,b\n1,2\n", "\0" * 99]))


@on_a_file
def become_pipe(file: Path, rng: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


@on_a_file
def become_folder(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()
    (file / rng.choice(["1.bmp", "UID_5_1_1_all.bmp", "note.txt"])).write_text("x")


@on_a_file
def become_link(file: Path, rng: random.Random) -> None:
    """That dangles, that leads to itself, to a folder above, or to a file beside it."""
    beside = rng.choice(sorted(file.parent.iterdir())).name
    target = rng.choice(["nowhere", file.name, ".", "..", "../..", beside])
    file.unlink()
    file.symlink_to(target)


@on_a_file
def become_odd_image(file: Path, rng: random.Random) -> None:
    """Of another size or depth, black, white or flat."""
    mode = rng.choice(["RGB", "L", "1", "P", "RGBA", "I;16", "F", "CMYK"])
    size = rng.choice([(1, 1), (450, 450), (2, 300), (300, 5), (16, 16), (449, 450)])
    image = Image.new(
        mode, size, rng.choice([0, 1, 200] if mode not in ("RGB", "RGBA", "CMYK") else [0, 0xC8C8C8])
    )
    out = io.BytesIO()
    kind = {"RGBA": "PNG", "I;16": "PNG", "F": "TIFF", "CMYK": "JPEG"}.get(mode, "BMP")
    image.save(out, kind)
    file.write_bytes(out.getvalue())


@on_a_file
def close_file(file: Path, rng: random.Random) -> None:
    file.chmod(rng.choice([0, 0o200]))


@on_a_file
def close_folder(file: Path, rng: random.Random) -> None:
    """No entry without any right, names alone with the right to read."""
    file.parent.chmod(rng.choice([0, 0o400]))


@on_a_table
def shuffle(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    return [rows[0], *rng.sample(rows[1:], len(rows) - 1)]


@on_a_table
def double(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    return [*rows, *rng.choices(rows, k=rng.randint(1, 3))]


@on_a_table
def lose(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    return rng.sample(rows, rng.randint(0, len(rows)))


@on_a_table
def contradict(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    """A row again with one value of another row, or another altogether."""
    row = list(rng.choice(rows))
    column = rng.randrange(len(row)) if row else 0
    other = rng.choice(rows)
    value = rng.choice(
        [other[column] if column < len(other) else "", "9", "", "ALL", "../x.png", "a\nb", "x\0y"]
    )
    return [*rows, [*row[:column], value, *row[column + 1 :]]]


@on_a_table
def retitle(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    header = list(rows[0])
    if header:
        header[rng.randrange(len(header))] = rng.choice(
            ["", "x", "label", header[0], header[-1].upper(), "cell_id"]
        )
    return [header, *rows[1:]]


@on_a_table
def break_rows(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    return [
        row + [""] * rng.randint(0, 2) if rng.random() < 0.8 else row[: rng.randint(0, 3)] for row in rows
    ]


def encode_again(root: Path, rng: random.Random) -> None:
    """With a byte-order mark, other line ends, in UTF-16, or in Latin-1, as spreadsheets do."""
    file = some(root, rng, table=True)
    if file != root:
        encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp500"])
        write_rows(file, read_rows(file), encoding, rng.choice(["\n", "\r\n", "\r", "\n\n"]))


def add_nul(root: Path, rng: random.Random) -> None:
    file = some(root, rng, table=True)
    if file != root:
        data = file.read_bytes()
        at = rng.randint(0, len(data))
        file.write_bytes(data[:at] + b"\0" * rng.randint(1, 3) + data[at:])


FILE_DAMAGES: tuple[Damage, ...] = (
    flip_bits, truncate, empty, append, rename, rename_folder, delete, duplicate, duplicate_folder, become_text,
    become_pipe, become_folder, become_link, become_odd_image, close_file, close_folder,
)  # fmt: skip
TABLE_DAMAGES: tuple[Damage, ...] = (
    shuffle, double, lose, contradict, retitle, break_rows, encode_again, add_nul,
)  # fmt: skip


def open_again(root: Path) -> None:
    """Give back the rights that damages took, so that the tree can be deleted."""
    for folder in (root, *folders_below(root)):
        folder.chmod(0o700)


def folders_below(folder: Path) -> Iterator[Path]:
    folder.chmod(0o700)
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield entry
            yield from folders_below(entry)
