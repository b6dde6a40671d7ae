"""The users file on the page works as it is."""

import re
from pathlib import Path

from vllm_image_core.batches.limits import Limits
from vllm_image_mcp.users.user_file import read_users


def test_the_file_on_the_page_has_its_users_and_limits(tmp_path: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "several-people.md"
    [block] = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (tmp_path / "users.toml").write_text(block, "utf-8")
    (tmp_path / "anna.token").write_text("0123456789abcdef0123456789abcdef", "utf-8")
    anna, bert = read_users(tmp_path / "users.toml")
    assert (anna.name, anna.share, bert.name, bert.share) == ("anna", 2, "bert", 1)
    assert anna.limits == Limits(images_per_hour=200, megapixels_in_flight=64)
