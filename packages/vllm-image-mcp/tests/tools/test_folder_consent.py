"""The user's own photos: the user is asked once per folder; roots of legacy hosts; data: URLs."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp.types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from PIL import Image
from pydantic import FileUrl
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings

if TYPE_CHECKING:
    from conftest import OmniServer

Host = Callable[..., Client]

AGREES = ElicitResult(action="accept", content={"allow": True})
DECLINES = ElicitResult(action="decline")
CLOSES = ElicitResult(action="cancel")


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


class User:
    """Answers what a host asks; `answer` None is a host that cannot ask."""

    def __init__(self, answer: ElicitResult | None, roots: tuple[Path, ...] | None = None) -> None:
        self.answer = answer
        self.roots = roots
        self.asked: list[str] = []
        self.listed = 0

    async def hear(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert self.answer is not None
        self.asked.append(params.message)
        return self.answer

    async def list_roots(self, context: ClientRequestContext) -> ListRootsResult:
        self.listed += 1
        return ListRootsResult(roots=[Root(uri=FileUrl(path.as_uri())) for path in self.roots or ()])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of the user's that nobody has allowed, with a photo and a text."""
    folder = tmp_path / "photos"
    (folder / "private").mkdir(parents=True)
    for name in ("cat.png", "dog.png", "private/diary.png"):
        (folder / name).write_bytes(png())
    (folder / "letter.png").write_text("Dear diary")
    return folder


@pytest.fixture
def host(era: str, omni: "OmniServer", tmp_path: Path) -> Host:
    def client(user: User) -> Client:
        settings = Settings.from_arguments(vllm_url=omni.url, output_dir=tmp_path / "out")
        return Client(
            build_server(settings),
            mode="legacy" if era == "2025-11-25" else "auto",
            read_timeout_seconds=60,
            elicitation_callback=user.hear if user.answer else None,
            list_roots_callback=user.list_roots if user.roots is not None else None,
        )

    return client


async def edit(client: Client, *images: object, **more: object) -> CallToolResult:
    return await client.call_tool("edit_image", {"prompt": "at night", "images": [*map(str, images)], **more})


def text(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


async def test_the_user_is_asked_once_for_a_folder(host: Host, photos: Path) -> None:
    user = User(AGREES)
    async with host(user) as client:
        first = await edit(client, photos / "cat.png")
        second = await edit(client, photos / "dog.png")
    assert not first.is_error, text(first)
    assert not second.is_error, text(second)
    assert user.asked == [
        f"May edit_image read images in {photos}? Your answer applies until the server stops."
    ]


async def test_a_folder_below_an_agreed_one_needs_its_own_answer(host: Host, photos: Path) -> None:
    user = User(AGREES)
    async with host(user) as client:
        await edit(client, photos / "cat.png")
        await edit(client, photos / "private" / "diary.png")
    assert [str(photos / "private") in question for question in user.asked] == [False, True]


async def test_one_question_names_all_folders_of_a_call(host: Host, photos: Path) -> None:
    user = User(AGREES)
    async with host(user) as client:
        result = await edit(client, photos / "cat.png", reference_image=str(photos / "private" / "diary.png"))
    assert not result.is_error, text(result)
    assert len(user.asked) == 1
    assert f"{photos} and {photos / 'private'}?" in user.asked[0]


async def test_a_folder_that_was_declined_is_not_asked_about_again(host: Host, photos: Path) -> None:
    user = User(DECLINES)
    async with host(user) as client:
        for _ in range(2):
            result = await edit(client, photos / "cat.png")
            assert result.is_error
            assert "the user declined to let images be read from this folder" in text(result)
    assert len(user.asked) == 1


async def test_a_question_that_was_closed_is_asked_again(host: Host, photos: Path) -> None:
    user = User(CLOSES)
    async with host(user) as client:
        assert "outside the folders that may be read" in text(await edit(client, photos / "cat.png"))
        user.answer = AGREES
        result = await edit(client, photos / "cat.png")
    assert not result.is_error, text(result)
    assert len(user.asked) == 2


async def test_a_host_that_cannot_ask_is_told_how_to_allow_the_folder(host: Host, photos: Path) -> None:
    async with host(User(None)) as client:
        result = await edit(client, photos / "cat.png")
    assert result.is_error
    assert "--allow-dir" in text(result)


async def test_nothing_else_of_a_file_is_reported(host: Host, photos: Path, omni: "OmniServer") -> None:
    async with host(User(AGREES)) as client:
        result = await edit(client, photos / "letter.png")
    assert result.is_error
    assert "Dear" not in text(result)
    assert omni.requests == []


async def test_the_user_is_asked_about_the_target_of_a_link(host: Host, photos: Path) -> None:
    link = photos.parent / "harmless"
    link.symlink_to(photos / "private")
    user = User(AGREES)
    async with host(user) as client:
        result = await edit(client, link / "diary.png")
    assert not result.is_error, text(result)
    assert user.asked == [
        f"May edit_image read images in {photos / 'private'}? Your answer applies until the server stops."
    ]


async def test_a_link_in_an_agreed_folder_is_not_followed(host: Host, photos: Path) -> None:
    (photos / "shortcut.png").symlink_to(photos / "private" / "diary.png")
    async with host(User(AGREES)) as client:
        result = await edit(client, photos / "shortcut.png")
    assert "links are not followed" in text(result)


async def test_roots_of_a_legacy_host_may_be_read_without_a_question(
    host: Host, photos: Path, era: str
) -> None:
    user = User(DECLINES, roots=(Path("/"), photos))
    async with host(user) as client:
        result = await edit(client, photos / "private" / "diary.png")
    is_legacy = era == "2025-11-25"
    assert (user.listed, len(user.asked)) == ((1, 0) if is_legacy else (0, 1))
    assert result.is_error != is_legacy


async def test_a_name_in_the_output_folder_needs_no_question(host: Host, omni: "OmniServer") -> None:
    user = User(AGREES, roots=())
    async with host(user) as client:
        small: dict[str, Any] = {"width": 64, "height": 64, "filename": "fox"}
        await client.call_tool("generate_image", {"prompt": "a fox", **small})
        assert not (await edit(client, "fox")).is_error
        assert (await edit(client, "gone")).is_error
    assert (user.asked, user.listed) == ([], 0)


async def export(client: Client, folder: Path) -> CallToolResult:
    await client.call_tool(
        "generate_image", {"prompt": "a fox", "width": 64, "height": 64, "filename": "fox"}
    )
    return await client.call_tool("rate_images", {"images": ["fox.png"], "export_to": str(folder)})


async def test_the_user_is_asked_once_before_images_are_exported_to_a_folder(
    host: Host, photos: Path
) -> None:
    user = User(AGREES)
    async with host(user) as client:
        first = await export(client, photos / "new")
        second = await client.call_tool(
            "rate_images",
            {"images": ["fox.png"], "export_to": str(photos / "new"), "output_format": "webp"},
        )
        read = await edit(client, photos / "cat.png")
    assert [each.is_error for each in (first, second, read)] == [False] * 3, text(first)
    assert sorted(path.name for path in (photos / "new").iterdir()) == ["fox.png", "fox.webp"]
    until = "Your answer applies until the server stops."
    assert user.asked == [
        f"May rate_images save copies of images in {photos / 'new'}? {until}",
        f"May edit_image read images in {photos}? {until}",
    ]


async def test_nothing_is_exported_if_the_user_declines_and_is_not_asked_again(
    host: Host, photos: Path
) -> None:
    user = User(DECLINES)
    async with host(user) as client:
        for _ in range(2):
            assert "the user declined" in text(await export(client, photos / "new"))
    assert (len(user.asked), (photos / "new").exists()) == (1, False)


async def test_images_are_exported_to_roots_of_a_legacy_host_without_a_question(
    host: Host, photos: Path, era: str
) -> None:
    user = User(DECLINES, roots=(photos,))
    async with host(user) as client:
        result = await export(client, photos / "new")
    is_legacy = era == "2025-11-25"
    assert (user.listed, len(user.asked)) == ((1, 0) if is_legacy else (0, 1))
    assert result.is_error != is_legacy


async def test_a_data_url_is_an_image_like_any_other(host: Host, omni: "OmniServer") -> None:
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    async with host(User(None)) as client:
        result = await edit(client, url)
    assert not result.is_error, text(result)
    assert result.structured_content
    assert result.structured_content["inputs"] == ["image"]
    assert omni.requests[0]["image"] == [png()]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png;base64,####", "its base64 is not valid"),
        ("data:text/html,<p>", "it is not a data: URL for an image in base64"),
        (f"data:image/png;base64,{base64.b64encode(b'no image').decode()}", "cannot be used"),
        (f"data:image/png;base64,{'A' * 4_100_000}", "it has more than 3 MB of image data"),
    ],
)
async def test_other_data_is_refused_in_a_short_message(host: Host, url: str, reason: str) -> None:
    async with host(User(None)) as client:
        result = await edit(client, url)
    assert result.is_error
    assert reason in text(result)
    assert len(text(result)) < 600
