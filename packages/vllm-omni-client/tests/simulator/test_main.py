import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import httpx
import pytest
from vllm_omni_client.simulator.__main__ import main
from vllm_omni_client.simulator_command import main as run_command

COMMAND = (sys.executable, "-m", "vllm_omni_client.simulator")


def told(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on stderr when it does not start."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_it_prints_in_one_line_where_it_listens_and_serves_there() -> None:
    options = (
        "--port",
        "0",
        "--model",
        "Qwen/Qwen-Image",
        "--served-model-name",
        "one",
        "two",
        "--api-key",
        "k",
    )
    with subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            said = re.fullmatch(
                r"Simulated vLLM-Omni server of Qwen/Qwen-Image on (http://127\.0\.0\.1:\d+)\n", line
            )
            assert said is not None, line
            headers = {"Authorization": "Bearer k"}
            models = httpx.get(f"{said[1]}/v1/models", headers=headers, timeout=20).json()
            assert [card["id"] for card in models["data"]] == ["one", "two"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-num-seqs", "0"], "--max-num-seqs: Input should be greater than or equal to 1"),
        (["--speed", "-1"], "--speed: Input should be greater than or equal to 0"),
        (["--speed", "nan"], "--speed: Input should be a finite number"),
        (["--vram-gib", "-1"], "--vram-gib: Input should be greater than or equal to 0"),
        (
            ["--fault", "nonsense"],
            "--fault: Value error, 'nonsense' is not a valid fault: kind: Input",
        ),
        (["--fault", "status,when=3"], "when: Extra inputs are not permitted"),
        (["--startup-seconds", "-1"], "--startup-seconds: Input should be greater than or equal to 0"),
        (["--port", "x"], "argument --port: invalid port value: 'x'"),
        (["--port", "70000"], "argument --port: 70000 is not between 0 and 65535"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in told(arguments, capsys)


def test_a_model_that_cannot_batch_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--max-num-seqs", "2"]) == 1
    assert "'Flux2KleinPipeline' does not support request-level batching" in capsys.readouterr().err


def test_a_port_in_use_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "vllm-omni-simulator cannot start: " in capsys.readouterr().err


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "PIL"])
def test_without_its_extra_the_command_says_what_to_install(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; "
        "from vllm_omni_client.simulator_command import main; sys.exit(main(['--port', '0']))"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vllm-omni-simulator cannot start: The simulator needs the package ")
    assert done.stderr.endswith('Install it with: pip install "vllm-omni-client[simulator]"\n')
    assert module in done.stderr


def test_the_command_passes_its_arguments_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(["--port", "x"])
    assert stopped.value.code == 2
    assert "invalid port value: 'x'" in capsys.readouterr().err
