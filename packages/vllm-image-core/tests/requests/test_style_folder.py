"""Styles come with the package or from a folder of TOML files, which takes precedence."""

import errno
import os
import sys
from pathlib import Path

import pytest
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.style_folder import Styles


@pytest.fixture
def styles(tmp_path: Path) -> Styles:
    return Styles(tmp_path / "styles")


def test_more_than_a_dozen_styles_come_with_the_package_each_described_in_words() -> None:
    found = Styles().all()
    assert len(found) > 12
    assert all(each.description and each.suffix and each.prefix for each in found)
    assert tuple(each.name for each in found) == Styles().names()


def test_a_saved_style_is_found_again_completely(styles: Styles) -> None:
    style = Style(
        name="Soft Ink",
        description='with "quotes"',
        suffix=", in ink",
        settings={"guidance_scale": 4.5, "extra_params": {"cfg_interval": [0.4, 1.0]}},
        models={"qwen-image": {"num_inference_steps": 40, "lora": "/loras/ink:0.8"}},
    )
    assert styles.save(style).name == "soft-ink.toml"
    found = styles.find("soft ink")
    assert (found.description, found.suffix) == ('with "quotes"', ", in ink")
    assert found.settings == {"guidance_scale": 4.5, "extra_params": {"cfg_interval": [0.4, 1.0]}}
    assert found.models == {"qwen-image": {"num_inference_steps": 40, "lora": "ink=/loras/ink:0.8"}}
    assert "soft-ink" in styles.names()


def test_nothing_is_overwritten_unless_requested(styles: Styles) -> None:
    styles.save(Style(name="ink", suffix=", a"))
    with pytest.raises(InvalidRequest, match="There is a style ink already"):
        styles.save(Style(name="ink", suffix=", b"))
    assert styles.find("ink").suffix == ", a"
    styles.save(Style(name="ink", suffix=", b"), overwrite=True)
    assert styles.find("ink").suffix == ", b"


def test_your_own_style_replaces_a_built_in_one_until_it_is_removed(styles: Styles) -> None:
    styles.save(Style(name="photo", suffix=", mine"))
    assert styles.is_own("photo")
    assert styles.find("photo").suffix == ", mine"
    styles.remove("photo")
    assert styles.find("photo") == Styles().find("photo")
    with pytest.raises(InvalidRequest, match="comes with this package"):
        styles.remove("photo")


def test_an_unknown_style_suggests_similar_ones_and_how_to_list_all(styles: Styles) -> None:
    with pytest.raises(InvalidRequest) as caught:
        styles.find("watercolour")
    assert caught.value.message == "There is no style 'watercolour'. Did you mean watercolor?"
    assert caught.value.next_step == "Studio.styles.names() lists all styles."
    assert "woodcut" in caught.value.allowed


@pytest.mark.parametrize("name", ["", "../up", "a/b", "con", ".hidden", "é", "x" * 61])
def test_a_name_that_some_system_cannot_use_is_refused(styles: Styles, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of a style"):
        styles.save(Style(name=name, suffix=", a"))


def test_an_unusable_file_does_not_hide_the_others(styles: Styles, tmp_path: Path) -> None:
    styles.save(Style(name="ink", suffix=", in ink"))
    (tmp_path / "styles" / "broken.toml").write_text("suffix = ")
    (tmp_path / "styles" / "wrong.toml").write_text("[settings]\nseed = 1")
    assert {"ink", "photo"} <= {each.name for each in styles.all()}
    for name in ("broken", "wrong"):
        with pytest.raises(InvalidRequest, match=f"The style '?{name}'? cannot be used"):
            styles.find(name)


def test_a_request_gets_the_style_that_it_names(styles: Styles) -> None:
    plain = ImageRequest(prompt="a fox")
    assert styles.named(plain) is plain
    assert styles.named(ImageRequest(prompt="a fox", style="Photo")).style == Styles().find("photo")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_style_may_be_written_by_powershell(styles: Styles, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "dusk.toml").write_bytes('suffix = ", à la brune"\r\n'.encode(encoding))
    assert styles.find("dusk").suffix == ", à la brune"


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_a_style_that_another_program_holds_is_not_reported_as_forbidden(
    styles: Styles, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def held(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "it is being used by another process", str(path))

    styles.save(Style(name="ink", suffix=", a"))
    monkeypatch.setattr("vllm_omni_client._imaging.held_files.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(sys, "platform", "win32")  # emulated
    monkeypatch.setattr(os, step, held)
    with pytest.raises(CannotSave) as caught:
        styles.remove("ink") if step == "unlink" else styles.save(Style(name="ink"), overwrite=True)
    assert caught.value.next_step == "Close the program that has it open, and try again."
