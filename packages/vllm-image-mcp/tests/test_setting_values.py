import os
import sys
from pathlib import Path

import pytest
from vllm_image_mcp.setting_values import (
    clean_file,
    clean_headers,
    clean_key,
    clean_path,
    clean_proxy,
    clean_text,
    clean_url,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("images", "images"),
        ("/srv/images", "/srv/images"),
        ("  /srv/images\n", "/srv/images"),
        ('"/srv/my images"', "/srv/my images"),
        ("'/srv/images'", "/srv/images"),
        ("~/images", "~/images"),
        ("/srv/cost$5", "/srv/cost$5"),
        ("/srv/100%", "/srv/100%"),
        ("/srv/a{b}", "/srv/a{b}"),
    ],
)
def test_quotation_marks_around_a_path_are_removed(written: str, meant: str) -> None:
    assert clean_path(written) == meant


@pytest.mark.skipif(sys.platform == "win32", reason="there these URLs begin with a drive")
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file:///srv/images", "/srv/images"),
        ("FILE:///srv/images", "/srv/images"),
        ("file://localhost/srv/images", "/srv/images"),
        ("file:/srv/images", "/srv/images"),
        ("file:///srv/my%20images", "/srv/my images"),
        ("file:///srv/100%25?#", "/srv/100%?#"),
        ('"file:///srv/images"', "/srv/images"),
    ],
)
def test_a_file_url_of_this_machine_is_its_path(written: str, meant: str) -> None:
    assert clean_path(written) == meant


@pytest.mark.parametrize(
    ("written", "placeholder"),
    [
        ("${userHome}/images", "${userHome}"),
        ("/srv/${input:folder}/x", "${input:folder}"),
        ("${user_config.output_dir}", "${user_config.output_dir}"),
        ("${HOME", "${HOME"),
        ("$PWD", "$PWD"),
        ("$XDG_PICTURES_DIR/new", "$XDG_PICTURES_DIR"),
        ("$(pwd)/images", "$(pwd)"),
        ("$env:APPDATA\\images", "$env:APPDATA"),
        ("%APPDATA%\\images", "%APPDATA%"),
        ("D:\\%ProgramFiles(x86)%\\images", "%ProgramFiles(x86)%"),
        ("{{ cwd }}/images", "{{ cwd }}"),
        ("<your folder>", "<your folder>"),
        ("'$HOME'", "$HOME"),
        ("file:///${userHome}/x", "${userHome}"),
    ],
)
def test_a_path_with_a_placeholder_is_refused_with_the_placeholder(written: str, placeholder: str) -> None:
    with pytest.raises(ValueError, match="which the host or the shell did not replace") as caught:
        clean_path(written)
    assert f"contains '{placeholder}'" in str(caught.value).replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("", "is empty"),
        (" '' ", "is empty"),
        ('"/srv/images', "quotation mark"),
        ("file://nas/images", "is an address"),
        ("smb://nas/images", "is an address"),
        ("https://gpu/images", "is an address"),
        ("file:///srv/%00", "zero byte"),
        ("~nobody-of-that-name/images", "home folder of a user"),
    ],
)
def test_a_path_that_cannot_be_on_this_machine_is_refused(written: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        clean_path(written)


@pytest.mark.parametrize("written", ["http://gpu:6655", ' "http://gpu:6655" ', "'http://gpu:6655'"])
def test_quotation_marks_around_an_address_are_removed(written: str) -> None:
    assert clean_url(written) == "http://gpu:6655"


@pytest.mark.parametrize(
    "written",
    [
        "${env:OMNI}",
        "http://${GPU_HOST}:6655",
        "http://$GPU:6655",
        "%OMNI_URL%",
        "http://<gpu>:6655",
        "{{u}}",
    ],
)
def test_an_address_with_a_placeholder_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="which the host or the shell did not replace"):
        clean_url(written)


@pytest.mark.parametrize("written", ["sk-a$b%c", "$2b$12$xyz", '"sk-a$b%c"', "$"])
def test_quotation_marks_around_a_key_are_removed(written: str) -> None:
    assert clean_key(written) == written.strip('"')


@pytest.mark.parametrize(
    "written", ["${env:OMNI_KEY}", "${input:omni-key}", "$OMNI_KEY", "%OMNI_KEY%", "{{ key }}", "<your key>"]
)
def test_a_key_that_is_a_placeholder_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match="is a placeholder") as caught:
        clean_key(written)
    assert written not in str(caught.value)
    with pytest.raises(ValueError, match="is a placeholder"):
        clean_text(written)


@pytest.mark.parametrize(
    "written",
    [
        "YOUR_API_KEY_HERE",
        "your-api-key",
        "yourkey",
        "'your-secret-token'",
        "sk-your-key",
        "changeme",
        "CHANGE_ME",
        "sk-...",
        "...",
        "sk-xxxxxxxx",
        "****",
    ],
)
def test_a_key_as_documentation_writes_it_is_a_placeholder(written: str) -> None:
    with pytest.raises(ValueError, match=r"^is a placeholder\. Write the key itself") as caught:
        clean_key(written)
    assert written not in str(caught.value)


@pytest.mark.parametrize("key", ["token-abc123", "EMPTY", "sk-x1", "yours-truly", "key", "my-key", "xx"])
def test_a_plain_key_is_not_a_placeholder(key: str) -> None:
    assert clean_key(key) == key


@pytest.mark.skipif(sys.platform == "win32", reason="there a name is text")
def test_the_bytes_of_a_file_url_are_kept_even_if_they_are_not_text() -> None:
    assert os.fsencode(Path(clean_path("file:///srv/%FCber"))) == b"/srv/\xfcber"


def test_headers_are_given_one_per_line_or_one_by_one() -> None:
    expected = (("X-Team", "blue"), ("Authorization", "Basic a:b="))
    assert clean_headers("X-Team: blue\n\nAuthorization:Basic a:b=\n") == expected
    assert clean_headers(("'X-Team: blue'", "Authorization: Basic a:b=")) == expected
    assert clean_headers("\n") is None


@pytest.mark.parametrize(
    "value",
    [
        "CANARY",
        ": CANARY",
        "X Team: CANARY",
        "X-Team: CANARYé",
        "X-Team: ${CANARY}",
        "X-Team: Bearer ${CANARY}",
        "X-Team: <CANARY>",
    ],
)
def test_an_invalid_header_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is looked at below
        clean_headers(value)
    assert "CANARY" not in str(caught.value)


def test_a_file_has_to_exist(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match="is not a file"):
        clean_file(str(file))
    file.touch()
    assert clean_file(f'"{file}"') == str(file)


def test_a_proxy_is_an_address_or_none() -> None:
    assert clean_proxy("'proxy.example.com:3128'") == "http://proxy.example.com:3128"
    assert clean_proxy("socks5://me:secret@proxy") == "socks5://me:secret@proxy"
    assert clean_proxy("None") == "none"


@pytest.mark.parametrize("value", ["", "ftp://me:CANARY@proxy", "http://${CANARY}", "http://", "http:CANARY"])
def test_an_invalid_proxy_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is looked at below
        clean_proxy(value)
    assert "CANARY" not in str(caught.value)
