"""What a tool may read: images below the allowed folders, and nothing that only looks like one."""

import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp import input_folders
from vllm_image_mcp.input_folders import InputFolders

DEADLINE_SECONDS = 60.0
OURS = "#112233"
SECRET = "#ff0000"


def png(colour: str = OURS) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output folder, with an image, next to a private folder."""
    folder = tmp_path / "out"
    (folder / "sub" / "deep").mkdir(parents=True)
    for path in (folder / "fox.png", folder / "sub" / "owl.png", folder / "sub" / "deep" / "hare.jpg"):
        path.write_bytes(png())
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.png").write_bytes(png(SECRET))
    (tmp_path / "outside.png").write_bytes(png(SECRET))
    return folder


@pytest.fixture
def read(out: Path) -> Callable[[object], bytes]:
    folders = InputFolders(out)
    return lambda given: folders.read(given, parameter="images").picture.bytes


def refused(read: Callable[[object], bytes], given: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(given)
    assert caught.value.parameter == "images"
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        *("fox.png", "fox", "image://fox.png", "image://fox", "image://fox.png?width=200", "./fox.png"),
        *("sub/owl.png", "sub/deep/hare.jpg", "sub//owl.png"),
    ],
)
def test_an_image_of_the_output_folder_is_found_by_its_name(
    read: Callable[[object], bytes], name: str
) -> None:
    assert read(name) == png()


def test_an_image_is_found_by_the_reported_path(read: Callable[[object], bytes], out: Path) -> None:
    assert read(str(out / "fox.png")) == png()


def test_the_output_folder_itself_may_be_a_link(out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(out)
    folders = InputFolders(link)
    for path in (link / "fox.png", out / "fox.png"):
        assert folders.read(str(path), parameter="images").picture.bytes == png()


def test_a_name_with_odd_characters_is_found_as_an_id(out: Path) -> None:
    (out / "a fox, 50%.png").write_bytes(png())
    assert InputFolders(out).read("image://a%20fox%2C%2050%25.png", parameter="x").name == "a fox, 50%.png"


def test_further_folders_are_read_only_when_the_user_allowed_them(out: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "private" / "secret.png")
    with pytest.raises(InvalidRequest, match="outside the folders"):
        InputFolders(out).read(path, parameter="mask")
    allowed = InputFolders(out, [tmp_path / "private"])
    assert allowed.read(path, parameter="mask").picture.bytes == png(SECRET)
    assert allowed.read("secret.png", parameter="mask").name == "secret.png"
    with pytest.raises(InvalidRequest, match="outside the folders"):
        allowed.read(str(tmp_path / "outside.png"), parameter="mask")


@pytest.mark.parametrize(
    "name",
    [
        *("../outside.png", "../private/secret.png", "sub/../../outside.png", "..", "../out/fox.png"),
        *("image://../outside.png", "image://..%2Foutside.png", "image://%2e%2e/outside.png"),
        *("..\\outside.png", "sub\\..\\..\\outside.png", "image:///etc/passwd"),
        *("\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/outside.png", ".../outside.png", "~/outside.png"),
        *("/etc/passwd", "/proc/self/environ", "//etc/passwd", "C:\\outside.png", "\\\\server\\share\\a.png"),
        *(
            "a\0b.png",
            "fox.png\0.txt",
            "x" * 5000,
            "x/" * 400 + "fox.png",
            "fox.png/fox.png",
            "sub",
            ".",
            "/",
        ),
        *("", "   ", "\n", "gone.png"),
    ],
)
def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(
    read: Callable[[object], bytes], name: str
) -> None:
    error = refused(read, name)
    assert "--allow-dir" in error.next_step
    assert "Allowed: the file names" in error.message


@pytest.mark.parametrize("sibling", ["out-secret", "outside", "out2"])
def test_a_folder_whose_name_only_starts_like_an_allowed_one_is_not_allowed(
    read: Callable[[object], bytes], out: Path, sibling: str
) -> None:
    folder = out.with_name(sibling)
    folder.mkdir()
    (folder / "fox.png").write_bytes(png(SECRET))
    assert "outside the folders" in refused(read, str(folder / "fox.png")).message
    assert "'..'" in refused(read, str(out / ".." / sibling / "fox.png")).message


@pytest.mark.parametrize(
    "address",
    [
        *("http://169.254.169.254/latest/meta-data", "https://example.org/fox.png", "HTTP://localhost/a.png"),
        *("ftp://x/a", "gopher://x", "s3://b/a.png"),
        *("image://http://localhost/a.png", "image:fox.png", "javascript:alert(1)", "http:fox.png"),
    ],
)
def test_an_address_is_refused_with_the_reason(read: Callable[[object], bytes], address: str) -> None:
    assert "is a URL, and URLs are not fetched" in refused(read, address).message


@pytest.mark.parametrize(
    "name", ["fox.png", "a fox, 50%.png", "ü#.png" if sys.platform == "win32" else "ü#?.png"]
)
@pytest.mark.parametrize("start", ["file://", "FILE://", "file://localhost", "file:"])
def test_the_address_of_an_allowed_file_is_its_path(
    read: Callable[[object], bytes], out: Path, start: str, name: str
) -> None:
    (out / name).write_bytes(png())
    assert read(start + quote(str(out / name))) == png()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("file:///etc/passwd", "it is outside the folders that may be read"),
        ("file://{out}/../outside.png", "it contains '..', which could leave the folder"),
        ("file://{out}/%2e%2e/outside.png", "it contains '..', which could leave the folder"),
        ("file://server/share/fox.png", "the file is on another machine"),
        ("file://fox.png", "the file is on another machine"),
        ("file:fox.png", "it is not a valid file URL"),
        ("file:", "it is not a valid file URL"),
        ("file://{out}/fox.png%00.txt", "it is not a path"),
    ],
)
def test_the_address_of_any_other_file_is_refused_with_the_reason(
    read: Callable[[object], bytes], out: Path, address: str, reason: str
) -> None:
    assert f"': {reason}" in refused(read, address.format(out=out)).message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "the image cannot be used"),
        ("DATA:,x", "it is not a data: URL for an image in base64"),
        ("data:image/png;base64," + "A" * 200_000, "the image cannot be used"),
        ("data:image/png;base64," + "A" * 4_100_000, "it has more than 3 MB of image data"),
        ("iVBORw0KGgo" + "A" * 300, "write it as data:image/png;base64,"),
        ("/9j/4AAQSkZJRg" + "A" * 300 + "==", "write it as data:image/png;base64,"),
        (" UklGRgA" + "A" * 60 + "\nAAAA=", "write it as data:image/png;base64,"),
    ],
)
def test_image_data_is_refused_as_such_and_not_repeated(
    read: Callable[[object], bytes], data: str, reason: str
) -> None:
    message = refused(read, data).message
    assert reason in message
    assert "A" * 41 not in message
    assert len(message) < 1_000


@pytest.mark.parametrize("given", [None, 7, True, 1.5, [], ["fox.png"], {"path": "fox.png"}, b"fox.png"])
def test_anything_but_a_name_is_refused(read: Callable[[object], bytes], given: object) -> None:
    assert "not the name of an image" in refused(read, given).message


def test_the_existence_of_files_outside_is_not_revealed(
    read: Callable[[object], bytes], tmp_path: Path
) -> None:
    there, gone = str(tmp_path / "outside.png"), str(tmp_path / "nowhere.png")
    assert refused(read, there).message.replace(there, "X") == refused(read, gone).message.replace(gone, "X")


def test_the_content_of_a_file_that_is_not_an_image_is_not_revealed(
    read: Callable[[object], bytes], out: Path
) -> None:
    (out / "notes.png").write_text("the password is hunter2", "utf-8")
    assert "hunter2" not in str(refused(read, "notes.png"))


# Links


@pytest.mark.parametrize(
    "name", ["link.png", "linked/secret.png", "sub/link.png", "loop.png", "dangling.png"]
)
def test_a_link_is_not_followed(
    read: Callable[[object], bytes], out: Path, tmp_path: Path, name: str
) -> None:
    (out / "link.png").symlink_to(tmp_path / "outside.png")
    (out / "linked").symlink_to(tmp_path / "private")
    (out / "sub" / "link.png").symlink_to("../../outside.png")
    (out / "loop.png").symlink_to("loop.png")
    (out / "dangling.png").symlink_to("nowhere.png")
    assert "links are not followed" in refused(read, name).message
    assert "links are not followed" in refused(read, str(out / name)).message


def test_a_link_to_one_of_our_images_is_not_followed_either(
    read: Callable[[object], bytes], out: Path
) -> None:
    (out / "twin.png").symlink_to("fox.png")
    assert "links are not followed" in refused(read, "twin.png").message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders, and opens no folder")
@pytest.mark.parametrize("relative", [True, False])
def test_anything_but_a_regular_file_is_neither_opened_nor_waited_for(
    read: Callable[[object], bytes], out: Path, monkeypatch: pytest.MonkeyPatch, *, relative: bool
) -> None:
    assert sys.platform != "win32"  # for type checkers
    if not relative:
        monkeypatch.setattr(input_folders, "_RELATIVE", False)
        monkeypatch.setattr(input_folders, "_READING", os.O_RDONLY)
    os.mkfifo(out / "pipe.png")
    assert "is not a regular file" in refused(read, "pipe.png").message
    assert "it is a folder" in refused(read, "sub").message


def test_a_file_that_is_replaced_while_being_opened_is_refused(
    read: Callable[[object], bytes], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def replace_and_open(path: Path, flags: int) -> int:
        (out / "sub" / "owl.png").replace(path)
        return opened(path, flags)

    monkeypatch.setattr(input_folders, "_RELATIVE", False)
    monkeypatch.setattr(os, "open", replace_and_open)
    assert "it was replaced while being opened" in refused(read, "fox.png").message


def test_a_folder_is_not_an_image(read: Callable[[object], bytes]) -> None:
    assert "cannot read 'sub'" in refused(read, "sub").message


def test_a_name_that_no_file_can_have_is_refused_for_its_length(read: Callable[[object], bytes]) -> None:
    assert "its name is too long" in refused(read, "fox" * 100 + ".png").message


def swapping(path: Path, target: Path, stop: threading.Event, *, folder: bool) -> None:
    """Alternate a name between one of our images and a link to a secret."""
    aside = path.with_name("aside")
    while not stop.is_set():
        with suppress(OSError):
            aside.symlink_to(target)
            for _ in range(50):
                path.lstat()
            if folder:
                path.rename(path.with_name("kept"))
            aside.replace(path)
            for _ in range(50):  # both are there for a while
                path.lstat()
            if folder:
                path.unlink()
                path.with_name("kept").rename(path)
            else:
                aside.write_bytes(png())
                aside.replace(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_link_swapped_in_during_the_read_is_never_followed(
    out: Path,
    tmp_path: Path,
    folder: bool,  # noqa: FBT001 - a case
) -> None:
    path = out / "sub" if folder else out / "fox.png"
    (tmp_path / "private" / "owl.png").write_bytes(png(SECRET))
    target = tmp_path / "private" if folder else tmp_path / "outside.png"
    stop = threading.Event()
    swapper = threading.Thread(target=swapping, args=(path, target, stop), kwargs={"folder": folder})
    swapper.start()
    folders, ours, not_read, read = InputFolders(out), 0, 0, 0
    try:
        while read < 5_000 or (read < 200_000 and not (ours and not_read)):
            read += 1
            try:
                content = folders.read("sub/owl.png" if folder else "fox.png", parameter="images")
            except InvalidRequest:
                not_read += 1
            else:
                assert content.picture.bytes == png()
                ours += 1
    finally:
        stop.set()
        swapper.join(DEADLINE_SECONDS)
    assert ours
    assert not_read


def test_without_relative_opens_a_link_is_still_detected(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_folders, "_RELATIVE", False)
    folders = InputFolders(out)
    (out / "link.png").symlink_to(tmp_path / "outside.png")
    (out / "linked").symlink_to(tmp_path / "private")
    assert folders.read("sub/owl.png", parameter="images").picture.bytes == png()
    for name in ("link.png", "linked/secret.png", "../outside.png", "gone.png"):
        with pytest.raises(InvalidRequest):
            folders.read(name, parameter="images")


def test_folders_compare_as_their_volume_does(
    out: Path, read: Callable[[object], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    same = os.path.samefile

    def ignoring_case(one: str | Path, other: str | Path) -> bool:
        return same(str(one).replace("OUT", "out"), other)

    spelt = str(out).replace("out", "OUT")
    assert "outside the folders" in refused(read, f"{spelt}/fox.png").message
    monkeypatch.setattr(os.path, "samefile", ignoring_case)  # emulated: the usual volumes of a Mac
    assert read(f"{spelt}/sub/owl.png") == png()
    assert "outside the folders" in refused(read, f"{out.parent}/outside.png").message


def test_a_volume_that_numbers_no_files_opens_no_other_folder(
    out: Path, read: Callable[[object], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unnumbered(call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def status(*arguments: object, **options: object) -> os.stat_result:
            found = call(*arguments, **options)
            return os.stat_result((found.st_mode, 0, found.st_dev, *found[3:]))

        return status

    for name in ("stat", "fstat"):
        monkeypatch.setattr(os, name, unnumbered(getattr(os, name)))  # emulated: SSHFS and WebDAV on Windows
    assert out.parent.samefile(out)
    assert "outside the folders" in refused(read, f"{out.parent}/outside.png").message
    assert read(str(out / "sub" / "owl.png")) == png()


def test_a_folder_may_be_named_through_a_link(out: Path, read: Callable[[object], bytes]) -> None:
    link = out.parent / "link"
    try:
        link.symlink_to(out, target_is_directory=True)
    except OSError:
        pytest.skip("this user may not make links")
    assert read(str(link / "sub" / "owl.png")) == png()
    (out / "secret.png").symlink_to(out.parent / "private" / "secret.png")
    assert "links are not followed" in refused(read, str(link / "secret.png")).message


def touched_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets every path that the system is asked about."""
    touched: list[str] = []

    def recording(call: Callable[..., object]) -> Callable[..., object]:
        def record(path: object, *rest: object, **options: object) -> object:
            touched.append(str(path))
            return call(path, *rest, **options)

        return record

    for name in ("stat", "lstat", "open"):
        monkeypatch.setattr(os, name, recording(getattr(os, name)))
    return touched


@pytest.mark.parametrize(
    "given",
    [
        *(r"\\attacker\share\fox.png", "//attacker/share/fox.png", r"\/attacker\share\fox.png"),
        *("file:////attacker/share/fox.png", r"\\attacker", r"\\?\UNC\attacker\share\fox.png"),
        *(r"\\.\pipe\fox.png", r"\\?\C:\fox.png", r"image://%5C%5Cattacker%5Cshare%5Cfox.png"),
    ],
)
def test_on_windows_no_server_is_contacted_because_of_a_name(
    out: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = InputFolders(out)
    monkeypatch.setattr(sys, "platform", "win32")  # emulated: Windows logs on to any server that a path names
    touched = touched_paths(monkeypatch)
    assert folders.outside(given) is None
    error = refused(lambda name: folders.read(name, parameter="images").picture.bytes, given)
    assert "on a network share or a device" in error.message
    assert [path for path in touched if "attacker" in path or "pipe" in path] == []


def test_on_windows_a_share_may_be_allowed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = InputFolders(out)
    folders.allow(Path(r"\\NAS\Pictures\foxes"))
    monkeypatch.setattr(sys, "platform", "win32")  # emulated
    with pytest.raises(InvalidRequest) as caught:
        folders.read(r"\\nas\pictures\foxes\fox.png", parameter="images")
    assert "network share" not in caught.value.message.partition("Allowed")[0]


@pytest.mark.parametrize("name", ["NUL", "aux.png", "sub/COM1", "fox.png.", "fox.png ", "my fox:secret", "*"])
def test_on_windows_names_with_other_meanings_are_refused(
    read: Callable[[object], bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # emulated: it opens a device, a stream or another file
    assert "Windows" in refused(read, name).message
