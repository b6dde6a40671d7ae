"""The command `doctor` is shown faults of every kind, and names the right fix for each."""

import errno
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import Result
from vllm_image_mcp.doctor import server_facts

if TYPE_CHECKING:
    from conftest import OmniServer

Run = Callable[..., Result]
Serve = Callable[[Mapping[str, tuple[int, bytes] | None]], str]
HTML = b"<html><h1>It works!</h1></html>"
UNAUTHORIZED = (401, b'{"error":"Unauthorized"}')


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """The command, with an output folder of its own."""

    run: Run
    folder: Path

    def report(
        self, *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the report; its health agrees with the exit status."""
        out = ("--output-dir", str(folder or self.folder))
        result = self.run("doctor", "--json", *out, *arguments, env=env)
        report = json.loads(result.stdout)
        assert result.exit_code == (0 if report["healthy"] else 1)
        return report

    def fault(
        self, check: str, *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> dict[str, str]:
        """Return the one finding of a check that needs a fix; nothing else may fail."""
        checks = self.report(*arguments, env=env, folder=folder)["checks"]
        [found] = [each for each in checks if each["check"] == check and each["fix"]]
        others = [each for each in checks if each["status"] == "failed" and each is not found]
        assert others == []
        return found


@pytest.fixture
def doctor(run: Run, tmp_path: Path) -> Doctor:
    return Doctor(run=run, folder=tmp_path / "images")


@pytest.fixture
def in_order(omni: "OmniServer") -> tuple[str, ...]:
    """Options with a server in order, to which nothing is sent that takes GPU time."""
    return ("--vllm-url", omni.url, "--no-image")


def test_a_healthy_installation_has_nothing_to_fix(
    doctor: Doctor, omni: "OmniServer", tmp_path: Path
) -> None:
    report = doctor.report("--vllm-url", omni.url, "--gpu-vram-gb", "80")
    assert report["healthy"]
    assert {each["check"]: each["status"] for each in report["checks"]} == {
        "installation": "ok",
        "folder": "ok",
        "disk space": "ok",
        "locks": "ok",
        "connection": "ok",
        "key": "ok",
        "model": "ok",
        "image API": "ok",
        "profile": "ok",
        "GPU memory": "ok",
        "release": "ok",
        "metrics": "ok",
        "batching": "info",
        "image": "ok",
    }
    assert [each["num_inference_steps"] for each in omni.requests] == [1]
    assert not (tmp_path / "images").exists()


def test_the_report_for_people_has_each_fix_below_its_finding(run: Run, nobody: str) -> None:
    result = run("doctor", "--vllm-url", nobody)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("  failed   connection")]
    assert lines[at + 1].lstrip().startswith("Fix: Start the server (`vllm serve MODEL --omni --port PORT`)")
    assert lines[-1] == "1 of these must be fixed."


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--vllm-url", "NOBODY"), "NOBODY"), (("--timeout", "abc"), "--timeout")]
)
def test_a_finding_names_what_it_is_about_once(
    run: Run, nobody: str, arguments: tuple[str, str], named: str
) -> None:
    words = [word.replace("NOBODY", nobody) for word in arguments]
    [line] = [line for line in run("doctor", *words).stdout.splitlines() if line.startswith("  failed")]
    assert line.count(named.replace("NOBODY", nobody)) == 1


def test_each_setting_is_shown_with_its_source_except_the_key(
    doctor: Doctor, in_order: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("timeout = 60", "utf-8")
    env = {"VLLM_IMAGE_API_KEY": "canary", "VLLM_IMAGE_PREVIEW": "none", "VLLM_IMAGE_CONFIG": str(file)}
    report = doctor.report(*in_order, env=env)
    shown = {each["option"]: (each["value"], each["source"]) for each in report["settings"]}
    assert shown["--timeout"] == ("60.0", str(file))
    assert shown["--preview"] == ("none", "VLLM_IMAGE_PREVIEW")
    assert shown["--api-key"] == ("set (not shown)", "VLLM_IMAGE_API_KEY")
    assert shown["--vllm-url"] == (in_order[1], "--vllm-url")
    assert shown["--metadata"] == ("all", "default")
    assert "canary" not in json.dumps(report)


class TestSettings:
    def test_a_placeholder_that_the_host_did_not_replace(self, doctor: Doctor) -> None:
        found = doctor.fault("settings", env={"VLLM_IMAGE_URL": "${input:server}"})
        assert "'${input:server}'" in found["detail"]
        assert "Correct it in VLLM_IMAGE_URL" in found["fix"]

    def test_a_key_that_is_still_an_example(self, doctor: Doctor) -> None:
        found = doctor.fault("settings", env={"VLLM_IMAGE_API_KEY": "your-api-key"})
        assert "is a placeholder. Write the key itself" in found["detail"]
        assert "VLLM_IMAGE_API_KEY" in found["fix"]

    def test_an_invalid_number(self, doctor: Doctor, tmp_path: Path) -> None:
        file = tmp_path / "settings.toml"
        file.write_text('timeout = "soon"', "utf-8")
        found = doctor.fault("settings", "--config", str(file))
        assert found["subject"] == "--timeout"
        assert f"Correct it in {file}" in found["fix"]

    def test_a_settings_file_with_an_unknown_setting(self, doctor: Doctor, tmp_path: Path) -> None:
        file = tmp_path / "settings.toml"
        file.write_text('server = "http://gpu:6655"', "utf-8")
        found = doctor.fault("settings", "--config", str(file))
        assert f"{file}: 'server' is not a setting. Use: vllm_url" in found["detail"]

    def test_a_key_file_that_is_missing(self, doctor: Doctor) -> None:
        found = doctor.fault("settings", "--api-key-file", "gone")
        assert "cannot be read" in found["detail"]

    def test_a_key_on_the_command_line(self, doctor: Doctor, in_order: tuple[str, ...]) -> None:
        found = doctor.fault("secrets", *in_order, "--api-key", "sesame")
        assert found["fix"] == "Set VLLM_IMAGE_API_KEY instead, or use --api-key-file."

    @pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
    def test_a_key_file_that_others_can_read(
        self, doctor: Doctor, in_order: tuple[str, ...], tmp_path: Path
    ) -> None:
        file = tmp_path / "key"
        file.write_text("sesame", "utf-8")
        file.chmod(0o644)
        assert (
            doctor.fault("secrets", *in_order, "--api-key-file", str(file))["fix"]
            == f"Run `chmod 600 {file}`."
        )

    def test_a_profile_file_that_cannot_be_used(
        self, doctor: Doctor, in_order: tuple[str, ...], tmp_path: Path
    ) -> None:
        (tmp_path / "profiles.toml").write_text("[", "utf-8")
        found = doctor.fault("profiles", *in_order, "--profiles", str(tmp_path / "profiles.toml"))
        assert "profiles.toml" in found["detail"]
        assert found["fix"] == "Correct the profile file."


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate that nobody vouches for."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("it takes openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*new, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


@pytest.fixture
def tls_port(certificate: ssl.SSLContext) -> Iterator[int]:
    """A port that only speaks TLS."""

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with certificate.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            except OSError:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


class TestConnection:
    def test_a_server_that_is_not_started(self, doctor: Doctor, nobody: str) -> None:
        found = doctor.fault("connection", "--vllm-url", nobody)
        assert found["fix"].startswith("Start the server")

    def test_a_wrong_port(
        self, doctor: Doctor, nobody: str, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_facts, "USUAL_PORTS", (1, int(omni.url.rpartition(":")[2])))
        found = doctor.fault("connection", "--vllm-url", nobody)
        assert found["fix"] == f"A server answers on another port: use --vllm-url {omni.url}."

    @pytest.mark.own_key
    def test_a_guessed_address_is_not_sent_the_key(
        self, doctor: Doctor, nobody: str, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        received: list[bytes] = []

        def listen(connection: socket.socket, request: bytes) -> bool:
            received.append(request)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return False

        monkeypatch.setattr(server_facts, "USUAL_PORTS", (int(serve(listen).rpartition(":")[2]),))
        doctor.fault("connection", "--vllm-url", nobody, env={"VLLM_IMAGE_API_KEY": "canary"})
        assert len(received) == 1
        assert b"canary" not in received[0]

    def test_an_unknown_host(self, doctor: Doctor) -> None:
        found = doctor.fault("connection", "--vllm-url", "http://nowhere.invalid:6655")
        assert found["fix"] == "Correct the host name in --vllm-url."

    def test_a_proxy_that_is_down(self, doctor: Doctor, nobody: str) -> None:
        found = doctor.fault(
            "connection", "--vllm-url", "http://gpu.example.com:6655", env={"HTTP_PROXY": nobody}
        )
        assert found["fix"].startswith("Start the proxy or correct HTTP_PROXY")

    def test_tls_on_a_plain_port(self, doctor: Doctor, omni: "OmniServer") -> None:
        found = doctor.fault("connection", "--vllm-url", omni.url.replace("http", "https"))
        assert found["fix"] == f"That port does not use TLS: use --vllm-url {omni.url}."

    def test_a_plain_address_of_a_port_with_tls(self, doctor: Doctor, tls_port: int) -> None:
        found = doctor.fault("connection", "--vllm-url", f"http://127.0.0.1:{tls_port}")
        assert found["fix"] == f"That port uses TLS: use --vllm-url https://127.0.0.1:{tls_port}."

    def test_a_certificate_that_is_not_trusted(self, doctor: Doctor, tls_port: int) -> None:
        found = doctor.fault("connection", "--vllm-url", f"https://127.0.0.1:{tls_port}")
        assert "--ca-file" in found["fix"]

    @pytest.mark.parametrize("answer", [(404, HTML), (404, b'{"detail":"Not Found"}')])
    def test_another_program(self, doctor: Doctor, scripted: Serve, answer: tuple[int, bytes]) -> None:
        found = doctor.fault("connection", "--vllm-url", scripted({"/health": answer, "/v1/models": answer}))
        assert "Correct the port in --vllm-url" in found["fix"]

    def test_a_proxy_in_front_of_a_server_that_is_down(self, doctor: Doctor, scripted: Serve) -> None:
        found = doctor.fault("connection", "--vllm-url", scripted({"/health": (502, HTML)}))
        assert "check whether that server is running" in found["fix"]

    def test_an_engine_that_is_dead(self, doctor: Doctor, scripted: Serve) -> None:
        found = doctor.fault(
            "connection", "--vllm-url", scripted({"/health": (503, b'{"status":"unhealthy"}')})
        )
        assert "restart the vLLM-Omni server" in found["fix"]

    def test_a_server_that_hangs(
        self, doctor: Doctor, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vllm_image_mcp.studio_factory._QUESTION_SECONDS", 0.2)

        def stay_silent(_: socket.socket, __: bytes) -> bool:
            return True

        found = doctor.fault("connection", "--vllm-url", serve(stay_silent))
        assert "Check whether the server is hung" in found["fix"]


class TestServer:
    @pytest.mark.own_key
    def test_a_key_that_is_missing(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="sesame")
        found = doctor.fault("key", "--vllm-url", omni.url)
        assert found["detail"] == "The server needs an API key, and none is set."
        assert "VLLM_IMAGE_API_KEY" in found["fix"]

    def test_a_key_that_is_wrong(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="sesame")
        found = doctor.fault("key", "--vllm-url", omni.url, env={"VLLM_IMAGE_API_KEY": "canary"})
        assert found["detail"] == "The server refuses the API key."
        assert "the key that the server was started with" in found["fix"]

    def test_a_model_that_is_not_loaded_yet(self, doctor: Doctor, scripted: Serve) -> None:
        found = doctor.fault("model", "--vllm-url", scripted({"/v1/models": (200, b'{"data":[]}')}))
        assert "Wait if it is still loading" in found["fix"]

    def test_a_server_for_a_language_model(self, doctor: Doctor, scripted: Serve) -> None:
        routes = b'{"paths": {"/v1/chat/completions": {}, "/v1/models": {}}}'
        models = b'{"data": [{"id": "meta-llama/Llama-3.1-8B", "max_model_len": 131072}]}'
        url = scripted(
            {
                "/openapi.json": (200, routes),
                "/v1/models": (200, models),
                "/version": (200, b'{"version":"0.30.0"}'),
            }
        )
        found = doctor.fault("image API", "--vllm-url", url)
        assert "language model" in found["detail"]
        assert "vllm serve MODEL --omni" in found["fix"]

    def test_a_model_that_is_not_known(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("somebody/new-model")
        found = doctor.fault("profile", "--vllm-url", omni.url, "--no-image")
        assert found["status"] == "warning"
        assert "'somebody/new-model' is not in the known profiles" in found["detail"]
        assert "--profiles" in found["fix"]

    def test_a_model_that_is_too_large(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("Qwen/Qwen-Image")
        found = doctor.fault("GPU memory", "--vllm-url", omni.url, "--no-image", "--gpu-vram-gb", "24")
        assert (found["status"], "does not fit" in found["detail"]) == ("warning", True)
        assert "quantised" in found["fix"]

    def test_an_old_release(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("black-forest-labs/FLUX.2-klein-4B", server_version="0.16.0")
        found = doctor.fault("release", "--vllm-url", omni.url, "--no-image")
        assert "vLLM-Omni 0.16.0 would ignore" in found["detail"]
        assert "output_format" in found["detail"]
        assert found["fix"] == "Update vLLM-Omni to 0.30 or later."

    def test_metrics_that_are_off(self, doctor: Doctor, scripted: Serve) -> None:
        url = scripted(
            {"/metrics": (200, b"http_requests_total 1\n"), "/version": (200, b'{"version":"0.30.0"}')}
        )
        found = doctor.fault("metrics", "--vllm-url", url, "--no-image")
        assert "--disable-log-stats" in found["fix"]

    def test_each_of_several_servers(self, doctor: Doctor, omni: "OmniServer", nobody: str) -> None:
        found = doctor.fault("connection", "--vllm-url", omni.url, "--vllm-url", nobody, "--no-image")
        assert found["subject"] == nobody


class TestImage:
    def test_an_image_that_does_not_fit_into_memory(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.failures["a red circle on a white background"] = (
            500,
            "CUDA out of memory. Tried to allocate 9 GiB",
        )
        found = doctor.fault("image", "--vllm-url", omni.url)
        assert "smaller size" in found["fix"]

    def test_a_model_that_fails_silently(self, doctor: Doctor, omni: "OmniServer") -> None:
        omni.runs("black-forest-labs/FLUX.2-klein-4B", faults=("black",))
        found = doctor.fault("image", "--vllm-url", omni.url)
        assert "only one colour" in found["detail"]
        assert "server's log" in found["fix"]


class TestFolder:
    def test_a_folder_that_is_read_only(
        self, doctor: Doctor, in_order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.open

        def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - as os.open
            if flags & os.O_CREAT:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
        found = doctor.fault("folder", *in_order)
        assert "read-only" in found["fix"]

    def test_a_folder_that_is_a_file(self, doctor: Doctor, in_order: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        found = doctor.fault("folder", *in_order, folder=tmp_path / "file")
        assert "--output-dir" in found["fix"]

    @pytest.mark.parametrize(("free", "status"), [(10_000, "failed"), (30_000_000, "warning")])
    def test_a_disk_that_is_full(
        self,
        doctor: Doctor,
        in_order: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
        free: int,
        status: str,
    ) -> None:
        def usage(_: object) -> Usage:
            return Usage(10**12, 10**12 - free, free)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        found = doctor.fault("disk space", *in_order)
        assert found["status"] == status
        assert found["fix"].startswith("Free some space on that disk")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has locks everywhere")
    def test_a_folder_without_locks(
        self, doctor: Doctor, in_order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("fcntl.lockf", refuse)
        found = doctor.fault("locks", *in_order)
        assert found["status"] == "warning"
        assert "local disk" in found["fix"]

    def test_a_batch_that_was_interrupted(
        self, run: Run, shell: subprocess.Popen[str], omni: "OmniServer"
    ) -> None:
        shell.kill()
        shell.wait()
        omni.release()
        doctor = Doctor(run=run, folder=Path("made"))
        found = doctor.fault("batches", "--vllm-url", omni.url, "--no-image")
        assert found["fix"].startswith("Run `vllm-image-mcp resume ")

    def test_a_batch_of_another_process(
        self, run: Run, shell: subprocess.Popen[str], omni: "OmniServer"
    ) -> None:
        report = Doctor(run=run, folder=Path("made")).report("--vllm-url", omni.url, "--no-image")
        [found] = [each for each in report["checks"] if each["check"] == "batches"]
        assert f"process {shell.pid} on " in found["detail"]
