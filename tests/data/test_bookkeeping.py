"""Whatever is done to a tree: every file has one fate, nothing raises, and no cell has a label it should not."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from listings import check_bookkeeping

from leukemia_lab.data.cnmc_layout import list_cnmc
from leukemia_lab.data.folder_layout import list_folder
from leukemia_lab.data.layouts import Listing
from leukemia_lab.errors import DataError

SUBJECTS = {"all": ("1", "2"), "hem": ("H1", "h2")}
LABELS_CSV = "prelim/labels.csv"
PRELIM_ROWS = [f"UID_{7 + n}_1_1_all.bmp,{n}.bmp,1" for n in range(1, 4)]
METADATA_ROWS = [
    f"fold_{fold}/{label}/UID_{subject}_{fold}_1_{label}.bmp,{label},{subject}"
    for fold in range(2)
    for label, subjects in SUBJECTS.items()
    for subject in subjects
]
TREE_TOP = "C-NMC"


def write_tree(root: Path) -> None:
    """Eight training and three preliminary files without pixels, a label file and a final-phase file."""
    for fold in range(2):
        for label, subjects in SUBJECTS.items():
            for subject in subjects:
                file = root / f"fold_{fold}" / label / f"UID_{subject}_{fold}_1_{label}.bmp"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("pixels")
    for number in range(1, 4):
        (root / "prelim").mkdir(exist_ok=True)
        (root / "prelim" / f"{number}.bmp").write_text("pixels")
    (root / "final").mkdir()
    (root / "final" / "1.bmp").touch()
    (root / "synthetic.json").write_text("{}")


def rename(root: Path, rng: random.Random) -> None:
    file = some_file(root, rng)
    name = rng.choice([".hidden.bmp", "x.bmp", "1.BMP", "notes.txt", file.name.upper(), "UID_9_1_1_all.bmp"])
    if not file.with_name(name).exists():
        file.rename(file.with_name(name))


def duplicate(root: Path, rng: random.Random) -> None:
    file, folder = some_file(root, rng), some_file(root, rng).parent
    if not (folder / file.name).exists():
        shutil.copy(file, folder / file.name)


def copy_folder(root: Path, rng: random.Random) -> None:
    folder = some_file(root, rng).parent
    if folder != root:
        copy = root / f"copy {rng.randrange(9)}" / folder.parent.name / folder.name
        shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True)


def empty(root: Path, rng: random.Random) -> None:
    some_file(root, rng).write_bytes(b"")


def hide_folder(root: Path, rng: random.Random) -> None:
    hidden = root / ".hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "UID_1_1_1_all.bmp").touch()


def dangle(root: Path, rng: random.Random) -> None:
    link = some_file(root, rng).with_name("UID_1_7_7_all.bmp")
    if not link.is_symlink() and not link.exists():
        link.symlink_to("nowhere")


def delete(root: Path, rng: random.Random) -> None:
    some_file(root, rng).unlink()


def some_file(root: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))


DAMAGES: list[Callable[[Path, random.Random], None]] = [
    rename, duplicate, copy_folder, empty, hide_folder, dangle, delete,
]  # fmt: skip


def write_table(path: Path, header: str, rows: list[str], rng: random.Random) -> None:
    """Rows shuffled, some doubled, cut, contradicted or lost, in any encoding and with any line ends."""
    rows = rng.sample(rows, rng.randint(0, len(rows))) + rng.choices(rows, k=rng.randint(0, 2))
    if rows and rng.random() < 0.5:
        rows += [
            rng.choice(
                [rows[0][:-2], rows[0] + "9", rows[0] + ",9", ",,", "", '"' + rows[0], "../" + rows[0]]
            )
        ]
    rng.shuffle(rows)
    text = rng.choice(["\n", "\r\n", "\r"]).join([rng.choice([header, header.upper()]), *rows])
    encoded = text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rng.choice([encoded] * 9 + [b"\xff" + encoded]))


def damaged_tree(folder: str, seed: int, table: str, header: str, rows: list[str]) -> Path:
    root, rng = Path(folder) / TREE_TOP, random.Random(seed)
    write_tree(root)
    for _ in range(rng.randint(0, 4)):
        rng.choice(DAMAGES)(root, rng)
    write_table(root / table, header, rows, rng)
    return root


def listing_or_none(root: Path, lister: Callable[[Path], Listing]) -> Listing | None:
    """The listing; None where the tree holds neither a cell nor a fault, the one thing that raises."""
    try:
        return lister(root)
    except DataError as error:
        assert str(error).startswith("no cells found in")  # noqa: PT017 - a whole listing is as good
        return None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_cnmc(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = damaged_tree(folder, seed, LABELS_CSV, "Patient_ID,new_names,labels", PRELIM_ROWS)
        listing = listing_or_none(root, list_cnmc)
        if listing is not None:
            check_bookkeeping(root, listing)
            assert all((cell.label == "HEM") == str(cell.subject).startswith("H") for cell in listing.cells)
            names = [(cell.official_part, Path(cell.cell_id).name.lower()) for cell in listing.cells]
            assert len(set(names)) == len(names)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_metadata(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = damaged_tree(folder, seed, "metadata.csv", "cell,class,subject", METADATA_ROWS)
        listing = listing_or_none(root, lambda top: list_folder(top, None, top / "metadata.csv"))
        if listing is not None:
            check_bookkeeping(root, listing)
            said = {row.split(",")[0] for row in METADATA_ROWS}
            assert {cell.cell_id for cell in listing.cells} <= said


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_class_folders(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = damaged_tree(folder, seed, "labels.csv", "cell,class,subject", METADATA_ROWS)
        listing = listing_or_none(root, lambda top: list_folder(top, r"UID_([^_]+)_", None))
        if listing is not None:
            check_bookkeeping(root, listing)
            assert listing.label_files == ()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.permutations(
        [*PRELIM_ROWS, "UID_8_1_1_all.bmp,1.bmp,9", "UID_9_1_1_all.bmp,2.bmp,1", PRELIM_ROWS[1]]
    )
)
def test_the_order_of_rows_is_of_no_effect(rows: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / TREE_TOP
        write_tree(root)
        (root / LABELS_CSV).write_text("\n".join(["Patient_ID,new_names,labels", *rows]))
        listing = list_cnmc(root)
        assert {fault.file: fault.fault for fault in listing.faults} == {"prelim/1.bmp": "unreadable row"}
        prelim = {cell.cell_id: cell.subject for cell in listing.cells if cell.official_part == "prelim"}
        assert prelim == {"prelim/2.bmp": "9", "prelim/3.bmp": "10"}
