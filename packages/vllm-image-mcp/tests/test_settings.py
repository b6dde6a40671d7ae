import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from vllm_image_mcp.setting_values import read_key
from vllm_image_mcp.settings import Settings


def wrong_fields(error: ValidationError) -> list[str]:
    return [str(each["loc"][0]) for each in error.errors(include_input=False)]


@pytest.mark.own_key
def test_the_defaults_are_those_of_the_plan() -> None:
    assert Settings().model_dump() == {
        "vllm_url": "http://localhost:6655",
        "output_dir": Path("generated_images"),
        "max_concurrent": None,
        "timeout": 300.0,
        "api_key": None,
        "header": None,
        "ca_file": None,
        "proxy": None,
        "model": None,
        "assume_edits": False,
        "demo": False,
        "allow_dir": None,
        "gpu_name": None,
        "gpu_vram_gb": None,
        "profiles": None,
        "styles_dir": None,
        "metadata": "all",
        "preview": "small",
        "structured_content": True,
        "max_wait": None,
        "confirm_over": None,
        "resume": False,
        "log_level": "WARNING",
        "api_key_file": None,
        "transport": "stdio",
        "host": "127.0.0.1",
        "port": 8765,
        "allowed_host": None,
        "token": None,
        "token_file": None,
        "users_file": None,
        "public_url": None,
        "config": None,
    }


def test_every_option_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, file = tmp_path / "key", tmp_path / "settings.toml"
    key.write_text("unused", "utf-8")
    file.touch()
    environment = {
        "URL": "http://192.168.1.50:6655",
        "OUTPUT_DIR": "D:/generated_images",
        "MAX_CONCURRENT": "2",
        "TIMEOUT": "60",
        "API_KEY": "sesame",
        "HEADER": "X-Team: blue\nX-Token: a b",
        "CA_FILE": __file__,
        "PROXY": "http://proxy:3128",
        "MODEL": "flux.1-dev",
        "ASSUME_EDITS": "1",
        "DEMO": "1",
        "GPU_NAME": "NVIDIA GeForce RTX 5090",
        "GPU_VRAM_GB": "32",
        "ALLOW_DIR": os.curdir,
        "PROFILES": "profiles.toml",
        "STYLES_DIR": "styles",
        "METADATA": "public",
        "PREVIEW": "none",
        "STRUCTURED_CONTENT": "0",
        "MAX_WAIT": "30",
        "CONFIRM_OVER": "120",
        "RESUME": "1",
        "LOG_LEVEL": "debug",
        "API_KEY_FILE": str(key),
        "TRANSPORT": "http",
        "HOST": "0.0.0.0",
        "PORT": "80",
        "ALLOWED_HOST": "a.example.com, b.example.com",
        "TOKEN": "open",
        "TOKEN_FILE": str(key),
        "USERS_FILE": __file__,
        "PUBLIC_URL": "https://images.example.com",
        "CONFIG": str(file),
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"VLLM_IMAGE_{name}", value)

    assert Settings().model_dump() == {
        "vllm_url": "http://192.168.1.50:6655",
        "output_dir": Path("D:/generated_images"),
        "max_concurrent": 2,
        "timeout": 60.0,
        "api_key": SecretStr("sesame"),
        "header": (("X-Team", SecretStr("blue")), ("X-Token", SecretStr("a b"))),
        "ca_file": Path(__file__),
        "proxy": SecretStr("http://proxy:3128"),
        "model": "flux.1-dev",
        "assume_edits": True,
        "demo": True,
        "allow_dir": (Path(),),
        "gpu_name": "NVIDIA GeForce RTX 5090",
        "gpu_vram_gb": 32.0,
        "profiles": Path("profiles.toml"),
        "styles_dir": Path("styles"),
        "metadata": "public",
        "preview": "none",
        "structured_content": False,
        "max_wait": 30.0,
        "confirm_over": 120.0,
        "resume": True,
        "log_level": "DEBUG",
        "api_key_file": key,
        "transport": "http",
        "host": "0.0.0.0",
        "port": 80,
        "allowed_host": ("a.example.com", "b.example.com"),
        "token": SecretStr("open"),
        "token_file": key,
        "users_file": Path(__file__),
        "public_url": "https://images.example.com",
        "config": file,
    }


def test_one_or_several_servers_are_urls_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().vllm_urls == ("http://localhost:6655",)
    monkeypatch.setenv("VLLM_IMAGE_URL", " http://a:1 ,http://b:2")
    assert Settings().vllm_urls == ("http://a:1", "http://b:2")


def test_an_argument_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_IMAGE_URL", "http://environment:6655")
    monkeypatch.setenv("VLLM_IMAGE_TIMEOUT", "60")
    settings = Settings.from_arguments(vllm_url="http://argument:6655", timeout=None)
    assert (settings.vllm_url, settings.timeout) == ("http://argument:6655", 60.0)


def test_the_url_variable_may_be_named_after_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_IMAGE_VLLM_URL", "http://gpu:6655")
    assert Settings().vllm_url == "http://gpu:6655"


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TIMEOUT", "MAX_CONCURRENT", "API_KEY"):
        monkeypatch.setenv(f"VLLM_IMAGE_{name}", "")
    assert Settings() == Settings.from_arguments(vllm_url="http://localhost:6655")


@pytest.mark.parametrize("auto", ["auto", "AUTO", " Auto "])
def test_auto_leaves_the_concurrency_to_the_gpu_memory(auto: str) -> None:
    assert Settings.from_arguments(max_concurrent=auto).max_concurrent is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrent", "0"),
        ("max_concurrent", "65"),
        ("max_concurrent", "many"),
        ("timeout", "0"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("timeout", "soon"),
        ("gpu_vram_gb", "-1"),
        ("gpu_vram_gb", "nan"),
        ("preview", "huge"),
        ("metadata", "some"),
        ("max_wait", "-1"),
        ("max_wait", "inf"),
        ("confirm_over", "0"),
        ("log_level", "LOUD"),
        ("vllm_url", "localhost:6655"),
        ("vllm_url", "ftp://gpu"),
        ("vllm_url", "http://"),
        ("vllm_url", "http://[::1"),
        ("vllm_url", "http://gpu:port"),
        ("vllm_url", "http://gpu:0"),
        ("vllm_url", "http://user:password@gpu:6655"),
        ("api_key", "two words"),
        ("api_key", "line\nbreak"),
        ("api_key", "schlüssel"),
    ],
)
def test_an_invalid_value_is_refused_at_startup(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.from_arguments(**{name: value})
    assert wrong_fields(caught.value) == [name]


def test_readable_folders_are_separated_as_in_path_in_one_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = (tmp_path / "a", tmp_path / "b c")
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("VLLM_IMAGE_ALLOW_DIR", os.pathsep.join(map(str, folders)))
    assert Settings().allow_dir == folders
    assert Settings.from_arguments(allow_dir=(str(tmp_path),)).allow_dir == (tmp_path,)


def test_anything_but_a_folder_cannot_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "gone", tmp_path / "file", ""):
        with pytest.raises(ValidationError, match=r"is not a folder|is empty|an empty name"):
            Settings.from_arguments(allow_dir=(str(folder),))


def test_placeholders_in_any_option_are_refused_at_startup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("VLLM_URL", "OUTPUT_DIR", "API_KEY", "PROFILES", "GPU_NAME"):
        with monkeypatch.context() as environment:
            environment.setenv(f"VLLM_IMAGE_{name}", f"${{env:{name}}}")
            with pytest.raises(ValidationError, match="did not replace"):
                Settings()
    with pytest.raises(ValidationError, match="did not replace"):
        Settings.from_arguments(allow_dir=(str(tmp_path), "$HOME"))


def test_leftovers_of_hosts_around_a_value_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VLLM_IMAGE_OUTPUT_DIR", f'"{tmp_path}"')
    monkeypatch.setenv("VLLM_IMAGE_URL", '"http://gpu:6655"')
    monkeypatch.setenv("VLLM_IMAGE_API_KEY", '"sesame"')
    monkeypatch.setenv("VLLM_IMAGE_ALLOW_DIR", f"{tmp_path.as_uri()}{os.pathsep}{tmp_path}")
    settings = Settings()
    assert settings.output_dir == tmp_path
    assert settings.vllm_url == "http://gpu:6655"
    assert settings.api_key == SecretStr("sesame")
    assert settings.allow_dir == (tmp_path, tmp_path)


def test_no_error_about_settings_shows_the_key() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.from_arguments(api_key="sesame open", timeout=-1)
    assert "sesame" not in str(caught.value)


def test_neither_key_nor_password_is_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.from_arguments(vllm_url="http://user:hunter2@gpu", api_key="sesame open")
    told = str([each["msg"] for each in caught.value.errors(include_input=False)])
    assert "hunter2" not in told
    assert "sesame" not in told


def test_the_key_is_not_shown() -> None:
    settings = Settings.from_arguments(api_key="sesame")
    assert "sesame" not in repr(settings)
    assert "sesame" not in settings.model_dump_json()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().demo = True  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "${TIMEOUT}"),
        ("gpu_vram_gb", "%GPU_VRAM%"),
        ("max_concurrent", "<number>"),
        ("max_wait", "{{max_wait}}"),
        ("confirm_over", "$CONFIRM_OVER"),
        ("demo", "${input:demo}"),
        ("resume", "${user_config.resume}"),
        ("structured_content", "$env:STRUCTURED"),
        ("preview", "${PREVIEW}"),
        ("metadata", "${METADATA}"),
        ("log_level", "${LOG_LEVEL}"),
    ],
)
def test_a_placeholder_is_called_one_in_every_option(name: str, value: str) -> None:
    with pytest.raises(
        ValidationError, match=r"is a placeholder, which the host or the shell did not replace"
    ):
        Settings.from_arguments(**{name: value})


def test_quotes_that_a_host_passed_on_are_not_part_of_a_number_or_a_word() -> None:
    settings = Settings.from_arguments(timeout='"60"', preview="'none'", demo='"true"')
    assert (settings.timeout, settings.preview, settings.demo) == (60.0, "none", True)


def test_the_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sesame\n", "utf-8")
    assert Settings.from_arguments(api_key_file=str(file)).key == SecretStr("sesame")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_key_file_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "key").write_text("sesame", encoding, newline="")
    assert read_key(tmp_path / "key") == "sesame"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), ("", "is empty"), ("sesame open", "must be printable ASCII")],
)
def test_a_key_file_that_holds_no_key_is_refused_without_showing_it(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(ValidationError, match=reason) as caught:
        Settings.from_arguments(api_key_file=str(file))
    assert wrong_fields(caught.value) == ["api_key_file"]
    assert "sesame" not in str(caught.value)


@pytest.mark.own_key
def test_an_argument_overrides_the_environment_which_overrides_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'vllm_url = ["http://file:1", "http://file:2"]\ntimeout = 7\ndemo = true\nmax_wait = 9\n', "utf-8"
    )
    monkeypatch.setenv("VLLM_IMAGE_CONFIG", str(file))
    monkeypatch.setenv("VLLM_IMAGE_TIMEOUT", "8")
    monkeypatch.setenv("VLLM_IMAGE_MAX_WAIT", "10")

    settings = Settings.from_arguments(max_wait="11")

    assert settings.vllm_urls == ("http://file:1", "http://file:2")
    assert (settings.timeout, settings.max_wait, settings.demo) == (8.0, 11.0, True)
    assert {name: each.source for name, each in Settings.given({"max_wait": "11"}).items()} == {
        "vllm_url": str(file),
        "timeout": "VLLM_IMAGE_TIMEOUT",
        "demo": str(file),
        "max_wait": "--max-wait",
        "config": "VLLM_IMAGE_CONFIG",
    }
