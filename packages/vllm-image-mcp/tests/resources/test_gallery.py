"""The gallery as hosts get it; what it does in a window is tested with a browser, in the session `hosts`."""

import base64
import hashlib
import json
import re
from collections.abc import Callable

import pytest
from mcp import Client
from mcp.types import ImageContent, TextResourceContents
from vllm_image_mcp.resources.gallery import GALLERY, page

Connect = Callable[..., Client]


async def test_the_page_is_offered_as_an_app_that_needs_no_domain(connect: Connect) -> None:
    async with connect() as client:
        listed = {each.uri: each for each in (await client.list_resources()).resources}[GALLERY]
        (contents,) = (await client.read_resource(GALLERY)).contents

    assert isinstance(contents, TextResourceContents)
    assert listed.mime_type == contents.mime_type == "text/html;profile=mcp-app"
    assert listed.meta == contents.meta
    assert json.dumps(listed.meta) == (
        '{"ui": {"csp": {}, "permissions": {"clipboardWrite": {}}, "prefersBorder": true}}'
    )
    assert contents.text == page()


async def test_only_tools_that_return_batches_are_shown_in_it(connect: Connect) -> None:
    async with connect() as client:
        tools = (await client.list_tools()).tools

    bound = {tool.name: tool.meta for tool in tools if tool.meta}
    assert bound["batch_generate"] == {"ui": {"resourceUri": GALLERY}}
    assert set(bound) <= {"batch_generate", "get_batch"}


async def test_a_host_without_apps_has_the_contact_sheet(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "batch_generate", {"prompts": ["a fox", "a hill"], "width": 128, "height": 96}
        )

    assert [block.type for block in result.content if isinstance(block, ImageContent)] == ["image"]


@pytest.mark.parametrize("what", ["script", "style"])
def test_the_policy_allows_what_is_in_the_page_and_nothing_else(what: str) -> None:
    (text,) = re.findall(rf"<{what}[^>]*>(.*?)</{what}>", page(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert f"{what}-src 'sha256-{digest}';" in page()
    assert "default-src 'none';" in page()


def test_the_page_refers_to_nothing_elsewhere() -> None:
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page()) == []


def test_the_page_never_turns_text_into_markup() -> None:
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", page()) == []
    )
