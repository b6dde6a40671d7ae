"""The folder of the images: complete files or none, never overwriting, never outside."""

import errno
import hashlib
import io
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from vllm_image_core.errors import CannotSave, InvalidRequest, PictureNotSaved
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage import folder as folder_module
from vllm_image_core.storage.filename import fold_name
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.store import Store
from vllm_image_core.storage.subfolders import Subfolders
from vllm_image_core.storage.temporary_names import temporary_name

NOON = datetime(2026, 2, 18, 14, 30, 22)  # noqa: DTZ001 - file names carry local time
PROMPT = "a red fox in the snow"
PLACES = "link rename"
"""The calls that give a file its final name: the first on POSIX systems, the second on Windows."""
NAME = "img_20260218_143022_b9c4c4"
DEADLINE_SECONDS = 60
posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's links, limits and signals")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux knows a dead process")
linux_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk"
)
SAVES = """
import sys
from datetime import datetime
from pathlib import Path
from vllm_image_core.errors import CannotSave
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.store import Store
from vllm_image_core.storage.subfolders import Subfolders
{before}
root, sample, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
noon = datetime(2026, 2, 18, 14, 30, 22)
picture = Picture.check(sample.read_bytes())
sys.stdin.readline()
for _ in range(times):
    try:
        path = Store(root).save(picture, prompt="a red fox in the snow", now=noon)
        print(path.name, flush=True)
    except CannotSave as error:
        print(error.message, error.picture == picture, flush=True)
"""
DIES_WHILE_WRITING = """
import os, sys
from pathlib import Path
from vllm_image_core.storage.folder import Folder
with Folder.existing(Path(sys.argv[1])) as folder, folder.temporary(b"half a picture"):
    os._exit(9)
"""
DIES_WHILE_NAMING = """
import errno, os, sys
from datetime import datetime
from pathlib import Path
from vllm_image_core.storage import folder
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.store import Store
from vllm_image_core.storage.subfolders import Subfolders
root, sample, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
make, replace = os.open, os.replace

def refuse(*_, **__):
    raise OSError(errno.EPERM, "no hard links here")

def die_before_reserving(name, *rest, **more):
    is_reserving = str(name).endswith("fox.png") and rest[0] & os.O_CREAT
    return os._exit(9) if is_reserving else make(name, *rest, **more)

def die_when_reserved(old, new, **more):
    return os._exit(9) if str(new).endswith("fox.png") else replace(old, new, **more)

os.link = refuse
folder.rename_if_free = lambda *_, **__: False
if moment == "reserved":
    os.replace = die_when_reserved
else:
    os.open = die_before_reserving
Store(root).save(Picture.check(sample.read_bytes()), prompt="x", now=datetime(2026, 2, 18), filename="fox")
"""


def killed(script: str, *arguments: object) -> None:
    """A process that ends in the middle of a step, as by SIGKILL."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    assert subprocess.run(command, check=False, timeout=DEADLINE_SECONDS).returncode == 9


def cannot_rename(*_: object, **__: object) -> bool:
    """As where the file system has no rename that never replaces."""
    return False


def encoded(kind: str = "PNG", side: int = 16) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture.check(encoded())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "pictures")


@pytest.fixture
def started(tmp_path: Path) -> Generator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that saves the same prompt again and again, once it gets the signal."""
    children: list[subprocess.Popen[str]] = []

    def start(root: Path, times: int, *, before: str = "", side: int = 16) -> subprocess.Popen[str]:
        sample = tmp_path / f"sample{side}.png"
        sample.write_bytes(encoded(side=side))
        command = [sys.executable, "-c", SAVES.format(before=before), str(root), str(sample), str(times)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate(timeout=DEADLINE_SECONDS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=DEADLINE_SECONDS).returncode:
        pytest.skip("this root may not mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=DEADLINE_SECONDS)  # noqa: S607 - the system's own


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0  # noqa: PTH208 - counted


def hostile_names(count: int) -> list[str]:
    """Names that lead elsewhere, pass for others, or break something; no two are the same."""
    chance = random.Random(4)
    parts = [
        *(
            "..",
            ".",
            "/",
            "\\",
            "//",
            "C:",
            "\\\\srv\\share",
            "\\\\?\\",
            "/etc/passwd",
            "~",
            "~root",
            "-rf",
            ":",
        ),
        *(
            "\0",
            "\n",
            "\r",
            "\t",
            "\x1b[31m",
            "\x7f",
            "\u202e",
            "\u200b",
            "\ufeff",
            "\u2028",
            "\ud800",
            "\udfff",
        ),
        *(
            "\uff0e\uff0e",
            "\uff0f",
            "\uff3c",
            "\uff1a",
            "\u2024\u2024",
            "\u2215",
            "%2e%2e%2f",
            "..%c0%af",
            "$HOME",
        ),
        *(
            "CON",
            "nul",
            "COM1",
            "com\u00b9",
            "LPT9",
            "AUX",
            "prn",
            "CONIN$",
            ".png",
            ".PNG",
            ".exe",
            "::$DATA",
        ),
        *(" ", ".", "*", "?", '"', "<", ">", "|", "`id`", "$(id)", ";", "&", "'", "fox", "Fox", "x" * 119),
        *("x" * 300, "\u00e9" * 80, "e\u0301", "\ufdfa", "\U0001f98a", "\u0130", "\u00df", "index.sqlite3"),
        *(".vllm-image", ".vllm-image/index.sqlite3", ".img_0.tmp", "img_20260218_143022_b9c4c4"),
    ]
    names = dict.fromkeys(parts)
    while len(names) < count:
        names["".join(chance.choices(parts, k=chance.randrange(1, 5)))] = None
    return list(names)[:count]


def test_an_image_is_saved_under_the_time_and_the_hash_of_its_prompt(
    store: Store, picture: Picture, tmp_path: Path
) -> None:
    path = store.save(picture, prompt=PROMPT, now=NOON)
    assert path == tmp_path / "pictures" / f"{NAME}.png"
    assert path.read_bytes() == picture.bytes
    assert contents(store.root) == [f"{NAME}.png"]


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_the_extension_matches_the_actual_format(store: Store, kind: str, extension: str) -> None:
    picture = Picture.check(encoded(kind))
    assert store.save(picture, prompt=PROMPT, now=NOON).name == f"{NAME}.{extension}"
    assert store.save(picture, prompt=PROMPT, now=NOON, filename="fox.png").name == f"fox.{extension}"


def test_a_given_name_is_kept_and_a_taken_one_gets_a_number(store: Store, picture: Picture) -> None:
    names = [store.save(picture, prompt=PROMPT, now=NOON, filename="fox").name for _ in range(12)]
    assert names == ["fox.png", *(f"fox_{number}.png" for number in range(2, 13))]


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("pictures"))
    monkeypatch.chdir("/")
    path = store.save(picture, prompt=PROMPT, now=NOON)
    assert path == tmp_path / "pictures" / f"{NAME}.png"
    assert path.is_file()


def test_the_umask_of_the_user_decides_who_may_read_an_image(store: Store, picture: Picture) -> None:
    path = store.save(picture, prompt=PROMPT, now=NOON)
    beside = store.root / "beside"
    beside.write_bytes(b"")
    assert path.stat().st_mode == beside.stat().st_mode


def test_four_hundred_saves_in_one_second_from_threads_give_four_hundred_files(
    store: Store, picture: Picture
) -> None:
    def save(_: int) -> Path:
        return store.save(picture, prompt=PROMPT, now=NOON)

    with ThreadPoolExecutor(16) as threads:
        paths = list(threads.map(save, range(400), timeout=DEADLINE_SECONDS))
    expected = {f"{NAME}.png", *(f"{NAME}_{number}.png" for number in range(2, 401))}
    assert {path.name for path in paths} == expected
    assert set(contents(store.root)) == expected
    assert all(path.read_bytes() == picture.bytes for path in paths)


def test_two_processes_share_one_folder_without_losing_anything(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    children = [started(tmp_path / "shared", 100) for _ in range(2)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outputs = [child.communicate(timeout=DEADLINE_SECONDS)[0].split() for child in children]
    assert [len(names) for names in outputs] == [100, 100]
    assert sorted(outputs[0] + outputs[1]) == contents(tmp_path / "shared")
    assert len(contents(tmp_path / "shared")) == 200


@posix
def test_a_process_killed_while_saving_leaves_no_partial_file(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    root = tmp_path / "killed"
    for delay in range(8):
        child = started(root, 10_000, side=256)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        for _ in range(1 + delay):
            child.stdout.readline()
        child.kill()
        child.wait(DEADLINE_SECONDS)
    visible = [path for path in root.iterdir() if not path.name.startswith(".")]
    assert len(visible) >= 36
    assert {Picture.check(path.read_bytes()).size.pixels for path in visible} == {256 * 256}


def test_a_taken_name_is_never_replaced(store: Store, picture: Picture) -> None:
    store.root.mkdir()
    (store.root / "fox.png").write_text("mine")
    (store.root / "fox_2.png").mkdir()
    path = store.save(picture, prompt=PROMPT, now=NOON, filename="fox")
    assert path.name == "fox_3.png"
    assert (store.root / "fox.png").read_text() == "mine"
    assert (store.root / "fox_2.png").is_dir()


@posix
def test_a_link_to_the_outside_under_the_name_of_the_image_is_not_followed(
    store: Store, picture: Picture, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    store.root.mkdir()
    (store.root / "fox.png").symlink_to(outside / "precious")
    (store.root / "fox_2.png").symlink_to(outside / "not there")
    assert store.save(picture, prompt=PROMPT, now=NOON, filename="fox").name == "fox_3.png"
    assert contents(outside) == ["precious"]
    assert (outside / "precious").read_text() == "mine"


@posix
def test_a_link_swapped_in_at_any_moment_leads_nowhere(
    store: Store, picture: Picture, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    store.root.mkdir()
    enough = threading.Event()

    def swap() -> None:
        names = [store.root / f"fox{suffix}.png" for suffix in ("", "_2", "_3")]
        while not enough.is_set():
            for name in names:
                name.unlink(missing_ok=True)
                try:
                    name.symlink_to(outside / "escaped")
                except FileExistsError:
                    continue

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(200):
            store.save(picture, prompt=PROMPT, now=NOON, filename="fox")
    finally:
        enough.set()
        attacker.join(DEADLINE_SECONDS)
    assert contents(outside) == []


@posix
def test_the_folder_itself_may_be_a_link(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    path = Store(tmp_path / "link").save(picture, prompt=PROMPT, now=NOON)
    assert path == tmp_path / "link" / f"{NAME}.png"
    assert contents(tmp_path / "disk") == [f"{NAME}.png"]


@pytest.mark.parametrize(
    "filename", ["../fox", "/etc/fox", "C:\\fox", "a/../../b", "x\0", "nul.png", "x" * 300, ""]
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(
    store: Store, picture: Picture, tmp_path: Path, filename: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.save(picture, prompt=PROMPT, now=NOON, filename=filename)
    assert caught.value.parameter == "filename"
    assert contents(tmp_path) == []


def test_a_free_name_is_found_in_few_steps_however_many_are_taken(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def has(folder: Folder, name: str) -> bool:
        looks.append(name)
        return name == "fox.png" or int(name.removeprefix("fox_").removesuffix(".png")) <= 50_000

    monkeypatch.setattr(Folder, "has", has)
    assert store.save(picture, prompt=PROMPT, now=NOON, filename="fox").name == "fox_50001.png"
    assert len(looks) < 40


def test_a_folder_removed_in_the_meantime_is_created_again(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder.place
    removed: list[bool] = []

    def remove_first(folder: Folder, temporary: str, name: str) -> bool:
        if not removed:
            removed.append(True)
            (folder.path / temporary).unlink()
            folder.path.rmdir()
        return place(folder, temporary, name)

    monkeypatch.setattr(Folder, "place", remove_first)
    path = store.save(picture, prompt=PROMPT, now=NOON)
    assert path.read_bytes() == picture.bytes
    assert contents(store.root) == [f"{NAME}.png"]


@pytest.mark.parametrize("renames", [True, pytest.param(False, marks=posix)])
def test_without_hard_links_files_are_complete_and_never_replaced(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch, *, renames: bool
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # what Linux says on FAT

    monkeypatch.setattr(os, "link", link)
    if not renames:
        monkeypatch.setattr("vllm_image_core.storage.folder.rename_if_free", cannot_rename)
    store.root.mkdir()
    (store.root / "fox.png").write_text("mine")
    with ThreadPoolExecutor(8) as threads:
        saves = [
            threads.submit(store.save, picture, prompt=PROMPT, now=NOON, filename="fox") for _ in range(40)
        ]
        paths = {save.result(DEADLINE_SECONDS) for save in saves}
    expected = {"fox.png", *(f"fox_{number}.png" for number in range(2, 42))}
    assert set(contents(store.root)) == expected
    assert (store.root / "fox.png").read_text() == "mine"
    assert all(path.read_bytes() == picture.bytes for path in paths)


@posix
def test_without_hard_links_a_failure_leaves_nothing_either(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def replace(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr("vllm_image_core.storage.folder.rename_if_free", cannot_rename)
    with pytest.raises(PictureNotSaved, match="Input/output error"):
        store.save(picture, prompt=PROMPT, now=NOON)
    assert contents(store.root) == []


@pytest.mark.parametrize(
    ("step", "code", "next_step"),
    [
        ("write", errno.ENOSPC, "Free some space"),
        ("fsync", errno.EIO, "Choose another output folder"),
        ("fsync", errno.EDQUOT, "quota"),
        (PLACES, errno.ENOSPC, "Free some space"),
        (PLACES, errno.EIO, "Choose another output folder"),
        ("open", errno.EMFILE, "Too many files are open"),
        ("open", errno.EROFS, "read-only"),
        ("open", errno.EACCES, "can write"),
    ],
)
def test_whatever_step_fails_the_error_has_the_image_and_nothing_is_left(  # noqa: PLR0917 - fixtures
    store: Store,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    code: int,
    next_step: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store.root.mkdir()
    before = len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0  # noqa: PTH208 - counted
    with monkeypatch.context() as patch:
        for name in step.split():
            patch.setattr(os, name, fail)
        with pytest.raises(PictureNotSaved) as caught:
            store.save(picture, prompt=PROMPT, now=NOON)
    after = len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0  # noqa: PTH208 - counted
    error = caught.value
    assert error.picture == picture
    assert error.message == (
        f"Cannot save images in {store.root}: {os.strerror(code)} ({errno.errorcode[code]})."
    )
    assert next_step in error.next_step
    assert contents(store.root) == []
    assert after == before
    assert store.save(error.picture, prompt=PROMPT, now=NOON).is_file()


def test_an_error_keeps_its_image_in_a_pickle(picture: Picture) -> None:
    error = PictureNotSaved("no", picture=picture, next_step="wait")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), copy.message, copy.next_step, copy.picture) == (
        PictureNotSaved,
        "no",
        "wait",
        picture,
    )


@linux_root
def test_a_full_disk_leaves_no_partial_image_and_loses_none(small_disk: Path) -> None:
    store = Store(small_disk)
    picture = Picture.check(encoded(side=128))
    saved = [store.save(picture, prompt=PROMPT, now=NOON) for _ in range(4)]
    with pytest.raises(PictureNotSaved, match="No space left on device") as caught:
        store.save(picture, prompt=PROMPT, now=NOON)
    assert contents(small_disk) == sorted(path.name for path in saved)
    with pytest.raises(CannotSave, match="No space left on device"):
        store.check_writable()
    assert contents(small_disk) == sorted(path.name for path in saved)
    saved[0].unlink()
    saved[1].unlink()
    assert store.save(caught.value.picture, prompt=PROMPT, now=NOON).read_bytes() == picture.bytes


@linux_root
def test_a_read_only_disk_is_detected_before_anything_is_generated(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=DEADLINE_SECONDS)  # noqa: S607 - the system's own
    with pytest.raises(CannotSave, match="EROFS") as caught:
        Store(small_disk / "pictures").check_writable()
    assert "read-only" in caught.value.next_step


@posix
def test_a_limit_on_file_sizes_is_an_error_that_keeps_the_image(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    child = started(tmp_path / "limited", 2, before=before, side=256)
    output, _ = child.communicate("go\n", timeout=DEADLINE_SECONDS)
    expected = f"Cannot save images in {tmp_path / 'limited'}: File too large (EFBIG). True"
    assert output.splitlines() == [expected, expected]
    assert contents(tmp_path / "limited") == []


def test_a_folder_is_created_with_its_parents_and_stays_empty(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b").check_writable()
    assert contents(tmp_path / "a" / "b") == []


@posix
@pytest.mark.parametrize("target", ["link", "missing", "file"])
def test_a_link_that_leads_to_no_folder_is_reported_as_one(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(CannotSave) as caught:
        Store(tmp_path / "link").check_writable()
    assert "symbolic link to a file, to nothing or to itself" in caught.value.next_step


@posix
@pytest.mark.parametrize("inside", ["", "pictures"])
def test_a_file_in_the_way_is_detected_before_anything_is_generated(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("mine")
    store = Store(tmp_path / "file" / inside)
    with pytest.raises(CannotSave) as caught:
        store.check_writable()
    assert caught.value.message.startswith(f"Cannot save images in {store.root}: ")
    assert "A file is in the way" in caught.value.next_step
    assert (tmp_path / "file").read_text() == "mine"


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_detected_before_anything_is_generated(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(CannotSave, match="EACCES") as caught:
        Store(tmp_path / "pictures").check_writable()
    assert "can write" in caught.value.next_step


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_an_impossible_folder_is_detected_before_anything_is_generated() -> None:
    with pytest.raises(CannotSave, match=r"Cannot save images in /proc/pictures: "):
        Store(Path("/proc/pictures")).check_writable()


def test_a_path_with_a_zero_byte_is_not_a_folder() -> None:
    with pytest.raises(CannotSave, match="null byte"):
        Store(Path("a\0b"))


def test_a_path_of_5000_characters_is_an_error_with_a_short_message(tmp_path: Path) -> None:
    with pytest.raises(CannotSave) as caught:
        Store(tmp_path / ("x" * 5000)).check_writable()
    assert len(caught.value.message) < 500


def test_day_old_temporary_files_are_removed_and_nothing_else(store: Store) -> None:
    store.root.mkdir()
    yesterday = time.time() - 25 * 3600
    for name in (".img_dead.tmp", "img_old.tmp", ".img_old.png", "picture.png", ".other.tmp"):
        (store.root / name).write_bytes(b"x")
        os.utime(store.root / name, (yesterday, yesterday))
    (store.root / ".img_alive.tmp").write_bytes(b"x")
    (store.root / ".img_folder.tmp").mkdir()
    os.utime(store.root / ".img_folder.tmp", (yesterday, yesterday))
    store.check_writable()
    assert contents(store.root) == [
        ".img_alive.tmp",
        ".img_folder.tmp",
        ".img_old.png",
        ".other.tmp",
        "img_old.tmp",
        "picture.png",
    ]


@linux
def test_temporary_files_of_a_killed_process_are_removed_at_the_next_start(store: Store) -> None:
    for folder in (store.root, store.root / ".vllm-image"):
        folder.mkdir()
        killed(DIES_WHILE_WRITING, folder)
        assert [name[:5] for name in contents(folder) if name.endswith(".tmp")] == [".img_"]
    with Folder.existing(store.root) as folder, folder.temporary(b"of a living process") as alive:
        store.check_writable()
        assert contents(store.root) == sorted([alive, ".vllm-image"])
    assert contents(store.root / ".vllm-image") == []


@linux
@pytest.mark.parametrize("moment", ["reserved", "not reserved"])
def test_an_image_whose_process_was_killed_while_naming_it_is_complete_or_gone_after_a_restart(
    store: Store, picture: Picture, tmp_path: Path, moment: str
) -> None:
    store.root.mkdir()
    (tmp_path / "sample.png").write_bytes(picture.bytes)
    killed(DIES_WHILE_NAMING, store.root, tmp_path / "sample.png", moment)
    assert [name for name in contents(store.root) if not name.startswith(".")] == (
        ["fox.png"] if moment == "reserved" else []
    )
    store.sweep()
    assert contents(store.root) == (["fox.png"] if moment == "reserved" else [])
    assert all(path.read_bytes() == picture.bytes for path in store.root.iterdir())


@linux
def test_a_temporary_file_names_only_empty_files_of_its_folder(store: Store, tmp_path: Path) -> None:
    store.root.mkdir()
    (store.root / "full.png").write_bytes(b"mine")
    (tmp_path / "outside.png").touch()
    dead = temporary_name(target="full.png").replace(f".{os.getpid()}-", ".999999999-")
    for target in ("full.png", "..", ".hidden"):
        (store.root / dead.replace("full.png", target)).write_bytes(b"theirs")
    (store.root / ".hidden").touch()
    store.sweep()
    assert contents(store.root) == [".hidden", "full.png"]
    assert (store.root / "full.png").read_bytes() == b"mine"
    assert (store.root / ".hidden").read_bytes() == b""


def test_saving_an_image_twice_gives_two_equal_files(store: Store, picture: Picture) -> None:
    paths = [store.save(picture, prompt=PROMPT, now=NOON) for _ in range(2)]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1
    assert len(set(paths)) == 2


@posix
def test_a_relative_folder_whose_working_folder_was_removed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work").rmdir()
    with pytest.raises(CannotSave, match="foxes is relative to the working folder, which no longer exists"):
        Store(Path("foxes"))
    assert Store(tmp_path / "foxes").root == tmp_path / "foxes"


@posix
def test_a_path_with_impossible_characters_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CannotSave, match="has characters that filenames on this system cannot have"):
        Store(tmp_path / "\ud83d fox")


@posix
def test_a_name_that_this_system_cannot_write_is_refused_before_anything_is_created(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def latin(name: str | os.PathLike[str]) -> bytes:
        return str(name).encode("latin-1")

    monkeypatch.setattr(os, "fsencode", latin)
    with pytest.raises(InvalidRequest, match="filenames on this system cannot have"):
        store.save(picture, prompt=PROMPT, now=NOON, filename="\u72d0")
    assert not store.root.exists()


def test_f01_the_same_prompt_400_times_in_a_second_gives_400_files(
    store: Store, small_picture: Picture
) -> None:
    def save(_: int) -> str:
        return store.save(small_picture, prompt=PROMPT, now=NOON).name

    with ThreadPoolExecutor(16) as threads:
        names = set(threads.map(save, range(400), timeout=DEADLINE_SECONDS))
    assert len(names) == 400
    assert set(contents(store.root)) == names


@pytest.mark.parametrize(
    "filename", ["../x", "/etc/x", "C:\\x", "C:x", "\\\\srv\\s", "x\0.png", "a/../../b", "..", "x/"]
)
def test_f03_a_name_that_leads_elsewhere_is_refused(
    store: Store, small_picture: Picture, tmp_path: Path, filename: str
) -> None:
    with pytest.raises(InvalidRequest):
        store.save(small_picture, prompt=PROMPT, now=NOON, filename=filename)
    assert contents(tmp_path) == []


def test_f03_none_of_500_hostile_names_leads_out_of_the_folder(
    small_picture: Picture, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "fox.png").write_text("theirs")
    store = Store(tmp_path / "pictures")
    store.root.mkdir()
    names = hostile_names(500)
    assert len(set(names)) == 500
    saved: list[Path] = []
    for name in names:
        try:
            saved.append(store.save(small_picture, prompt=PROMPT, now=NOON, filename=name))
        except InvalidRequest as error:
            assert error.message.isprintable()  # noqa: PT017 - both ends are right
    assert 0 < len(saved) < 500
    found = files_below(tmp_path) - {"pictures/.vllm-image/subfolders.txt"}
    assert found == {"outside/fox.png", *(path.relative_to(tmp_path).as_posix() for path in saved)}
    assert all(path.read_bytes() == small_picture.bytes for path in saved)
    assert (outside / "fox.png").read_text() == "theirs"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("fox", "Fox", "Fox_2.png"),
        ("F\u00fcchse", "fu\u0308chse", "f\u00fcchse_2.png"),
        ("stra\u00dfe", "STRASSE", "STRASSE_2.png"),
        ("fox", "\uff26\uff2f\uff38", "FOX_2.png"),
        ("fox_2", "FOX_2", "FOX_2_2.png"),
    ],
)
def test_f05_equal_names_get_a_number_on_every_file_system(
    store: Store, small_picture: Picture, first: str, second: str, expected: str
) -> None:
    store.save(small_picture, prompt=PROMPT, now=NOON, filename=first)
    assert store.save(small_picture, prompt=PROMPT, now=NOON, filename=second).name == expected
    assert len({fold_name(name) for name in contents(store.root)}) == 2


def test_f05_an_equal_name_in_decomposed_form_is_noticed(store: Store, small_picture: Picture) -> None:
    store.root.mkdir()
    (store.root / unicodedata.normalize("NFD", "F\u00fcchse.PNG")).write_text("theirs")
    name = store.save(small_picture, prompt=PROMPT, now=NOON, filename="f\u00fcchse").name
    assert name == "f\u00fcchse_2.png"


def test_f05_no_automatic_name_equals_another(store: Store, small_picture: Picture) -> None:
    automatic = store.save(small_picture, prompt=PROMPT, now=NOON)
    given = store.save(small_picture, prompt=PROMPT, now=NOON, filename=automatic.stem.upper())
    assert given.name == f"{automatic.stem}_2.png"
    assert store.save(small_picture, prompt=PROMPT, now=NOON).name == f"{automatic.stem}_3.png"


def test_f05_equal_names_written_at_the_same_moment_are_distinguished(
    small_picture: Picture, tmp_path: Path
) -> None:
    stores = [Store(tmp_path / "pictures") for _ in range(4)]  # as four processes have them

    def save(number: int) -> str:
        name = ("fox", "Fox", "FOX", "foX")[number % 4]
        return stores[number % 4].save(small_picture, prompt=PROMPT, now=NOON, filename=name).name

    with ThreadPoolExecutor(4) as threads:
        names = list(threads.map(save, range(80), timeout=DEADLINE_SECONDS))
    assert sorted(names) == contents(tmp_path / "pictures")
    assert len({fold_name(name) for name in names}) == 80


def write_twins(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let another process write an equal name each time that ours has written one."""
    place, theirs = Folder.place, list(names)

    def place_and_write(folder: Folder, temporary: str, name: str) -> bool:
        placed = place(folder, temporary, name)
        if placed and theirs:
            (folder.path / theirs.pop(0)).write_bytes(b"theirs")
        return placed

    monkeypatch.setattr(Folder, "place", place_and_write)


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_several_equal_names_move_the_image_on_and_lose_nothing(
    store: Store, small_picture: Picture, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    # Emulated: on Windows, a temporary file is renamed, so that it is gone once it was placed.
    monkeypatch.setattr("vllm_image_core.storage.folder.sys.platform", system)
    monkeypatch.setattr(folder_module, "_RELATIVE", system != "win32")
    write_twins(monkeypatch, "FOX.png", "FOX_2.png", "FOX_3.png")
    assert store.save(small_picture, prompt=PROMPT, now=NOON, filename="fox").name == "fox_4.png"
    assert contents(store.root) == ["FOX.png", "FOX_2.png", "FOX_3.png", "fox_4.png"]
    assert (store.root / "fox_4.png").read_bytes() == small_picture.bytes


def test_another_writer_that_never_stops_does_not_keep_the_image_from_being_saved(
    store: Store, small_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_twins(monkeypatch, "FOX.png", *(f"FOX_{number}.png" for number in range(2, 1_000)))
    path = store.save(small_picture, prompt=PROMPT, now=NOON, filename="fox")
    assert path.read_bytes() == small_picture.bytes
    assert len(contents(store.root)) < 200


@pytest.mark.parametrize("form", ["NFD", "NFC"])
def test_a_volume_that_lists_names_in_another_form_does_not_make_our_file_its_own_rival(
    store: Store, small_picture: Picture, monkeypatch: pytest.MonkeyPatch, form: Literal["NFD", "NFC"]
) -> None:
    names, place = Folder.names, Folder.place
    placed: list[str] = []

    def counted(folder: Folder, temporary: str, name: str) -> bool:
        placed.append(name)
        return place(folder, temporary, name)

    def in_its_form(folder: Folder) -> list[str]:
        return [unicodedata.normalize(form, name) for name in names(folder)]

    # Emulated: HFS+, and exFAT and network shares on a Mac, list names decomposed.
    monkeypatch.setattr(Folder, "names", in_its_form)
    monkeypatch.setattr(Folder, "place", counted)
    given = unicodedata.normalize("NFC" if form == "NFD" else "NFD", "F\u00fcchse")
    saved = [store.save(small_picture, prompt=PROMPT, now=NOON, filename=given) for _ in range(2)]
    assert [path.read_bytes() for path in saved] == [small_picture.bytes] * 2
    assert placed == ["F\u00fcchse.png", "F\u00fcchse_2.png"]
    assert len(contents(store.root)) == 2


@posix
@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT, errno.EMFILE, errno.ENAMETOOLONG, errno.EROFS])
@pytest.mark.parametrize("step", ["open", "write", "fsync", PLACES])
def test_f11_every_error_of_the_system_is_reported_and_leaks_nothing(
    store: Store, small_picture: Picture, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store.root.mkdir()
    before = open_files()
    with monkeypatch.context() as patch:
        for name in step.split():
            patch.setattr(os, name, fail)
        with pytest.raises(PictureNotSaved, match=errno.errorcode[code]) as caught:
            store.save(small_picture, prompt=PROMPT, now=NOON)
    assert caught.value.picture == small_picture
    assert (open_files(), contents(store.root)) == (before, [])


def test_f12_temporary_files_of_dead_writers_are_swept_at_the_start(store: Store) -> None:
    store.root.mkdir()
    (store.root / ".img_dead.tmp").write_bytes(b"half a picture")
    yesterday = time.time() - 90_000
    os.utime(store.root / ".img_dead.tmp", (yesterday, yesterday))
    store.check_writable()
    assert contents(store.root) == []


def test_f13_an_image_is_on_the_disk_before_it_is_named_and_named_before_it_is_reported(
    small_picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("write", "fsync", *PLACES.split()):
        real = getattr(os, name)

        def logged(*arguments: object, _name: str = name, _real: object = real, **options: object) -> object:
            steps.append("place" if _name in PLACES else _name)
            return _real(*arguments, **options)  # type: ignore[operator]  # a function of os

        monkeypatch.setattr(os, name, logged)
    Store(tmp_path).save(small_picture, prompt=PROMPT, now=NOON)
    assert steps[:3] == ["write", "fsync", "place"]
    assert steps[3:] == (["fsync"] if folder_module._RELATIVE else [])  # Windows syncs no folder


def test_an_image_is_saved_in_a_folder_created_for_it(store: Store, picture: Picture) -> None:
    paths = [
        store.save(picture, prompt=PROMPT, now=NOON, filename=name)
        for name in ("hero/left.webp", "hero\\left", "hero/Left", "hero/a/b")
    ]
    there = [path.relative_to(store.root).as_posix() for path in paths]
    assert there == ["hero/left.png", "hero/left_2.png", "hero/Left_3.png", "hero/a/b.png"]
    assert Subfolders(store.root).names() == ("hero", "hero/a")


def test_a_folder_that_is_a_link_or_a_file_is_refused_before_anything_is_generated(
    store: Store, picture: Picture, tmp_path: Path
) -> None:
    store.check_writable()
    (tmp_path / "outside").mkdir()
    (store.root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    (store.root / "file").touch()
    for name, why in (
        ("link/fox", "is a link"),
        ("link/a/fox", "is a link"),
        ("file/fox", "is not a folder"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            store.check_subfolder(name)
        with pytest.raises(PictureNotSaved):
            store.save(picture, prompt=PROMPT, now=NOON, filename=name)
    store.check_subfolder("new/fox")
    assert contents(tmp_path / "outside") == []
