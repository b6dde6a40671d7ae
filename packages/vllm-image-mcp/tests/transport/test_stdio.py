"""The server as a process: what is on stdout, how it starts, what it survives, and how it ends."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification
from vllm_image_mcp.transport.stdio import Pipes, StdioHost

if TYPE_CHECKING:
    from conftest import OmniServer, StdioServer

Spawn = Callable[..., "StdioServer"]

TOOLS = [
    "generate_image",
    "batch_generate",
    "edit_image",
    "get_model_info",
    "gpu_status",
    "list_presets",
    "server_health",
    "estimate_generation",
    "cancel_batch",
    "get_batch",
    "list_batches",
    "find_images",
    "rate_images",
]
SMALL = {"width": 64, "height": 64}
INITIALIZE = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", '
    b'"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def demo(spawn: Spawn, folder: Path) -> "StdioServer":
    """One server for the tests that only ask it something."""
    server = spawn("--demo", "--output-dir", str(folder))
    server.initialize()
    return server


def text(result: dict[str, Any]) -> str:
    (content,) = result["content"]
    return content["text"]


def raw_call(request: int, arguments: str) -> str:
    """A call of generate_image whose arguments are written by hand."""
    return (
        f'{{"jsonrpc": "2.0", "id": {request}, "method": "tools/call", '
        f'"params": {{"name": "generate_image", "arguments": {arguments}}}}}'
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused_with_an_explanation(
    demo: "StdioServer", number: str
) -> None:
    demo.send(raw_call(1_000, f'{{"prompt": "a red fox", "guidance_scale": {number}}}'))
    result = demo.answer(1_000)["result"]
    assert result["isError"]
    assert "is not a finite number. Allowed: a number from 0 to 20." in text(result)


@pytest.mark.parametrize(
    "line",
    ["garbage", "", "[]", "{}", '{"jsonrpc": "2.0"}', '{"jsonrpc": "2.0", "id": 999}', "\x00", "[" * 2_000],
)
def test_a_line_that_is_not_a_message_stops_nothing(demo: "StdioServer", line: str) -> None:
    demo.send(line)
    assert demo.call("server_health")["structuredContent"]["status"] == "healthy"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"prompt": "\\ud800"}',
        '{"prompt": "a red fox", "\\udfff": 1}',
        f'{{"prompt": "a red fox", "seed": 1{"0" * 5_000}}}',
        f'{{"prompt": {"[" * 300}{"]" * 300}}}',
    ],
)
def test_json_that_cannot_be_read_is_answered_with_an_error(demo: "StdioServer", arguments: str) -> None:
    demo.send(raw_call(2_000, arguments))
    assert demo.answer(2_000)["error"]["code"] == -32700
    assert demo.call("server_health")["structuredContent"]["status"] == "healthy"


def test_a_byte_order_mark_before_the_first_message_is_ignored(spawn: Spawn) -> None:
    server = spawn("--demo")
    server.send("\ufeff" + INITIALIZE.decode().strip() + "\r")
    assert server.answer(1)["result"]["serverInfo"]["name"] == "vllm-image-mcp"
    assert (server.end(), server.errors) == (0, "")


def test_an_unreadable_line_without_an_id_is_reported_in_the_log(spawn: Spawn) -> None:
    server = spawn("--demo")
    server.initialize()
    server.send('{"jsonrpc": "2.0", "method": "ping", "params": []}')
    assert server.ask("ping")["result"] == {}
    assert server.end() == 0
    assert "params must be an object." in server.errors
    assert "Traceback" not in server.errors


def test_arguments_may_be_omitted(demo: "StdioServer") -> None:
    result = demo.ask("tools/call", name="generate_image")["result"]
    assert result["isError"]
    assert "prompt: Field required." in text(result)


def test_a_long_prompt_is_refused_with_a_short_answer(demo: "StdioServer") -> None:
    result = demo.call("generate_image", prompt="x" * 100_000)
    assert "has 100000 characters; at most 20000 are allowed." in text(result)
    assert len(demo.lines[-1]) < 1_000


def test_a_prompt_in_any_script_is_returned_unchanged(demo: "StdioServer") -> None:
    prompt = "雪中的红狐 🦊 ein Fuchs"
    used = demo.call("generate_image", prompt=prompt, **SMALL)["structuredContent"]["parameters_used"]
    assert used["prompt"] == prompt


def test_progress_goes_to_the_call_that_has_a_token_for_it(demo: "StdioServer") -> None:
    asked = {"name": "generate_image", "arguments": {"prompt": "a red fox", **SMALL}}
    assert not demo.ask("tools/call", **asked)["result"]["isError"]
    assert demo.notified("notifications/progress") == []
    assert not demo.ask("tools/call", **asked, _meta={"progressToken": "p1"})["result"]["isError"]
    heard = demo.notified("notifications/progress")
    assert [message["params"]["progressToken"] for message in heard] == ["p1", "p1"]
    assert [message["params"]["progress"] for message in heard] == [0, 1]


def test_an_image_of_the_demo_says_that_it_is_simulated(demo: "StdioServer") -> None:
    result = demo.call("generate_image", prompt="a red fox", **SMALL)["structuredContent"]
    assert result["notes"] == ["Demo mode: images are simulated; a program draws them, not a model."]


def test_the_demo_has_no_gpu(demo: "StdioServer") -> None:
    status = demo.call("gpu_status")["structuredContent"]
    assert status["gpu_name"] == "Simulated GPU"
    assert status["sources"]["total_vram_gb"] == "the simulator; there is no real GPU"


def test_stdout_carries_messages_and_nothing_else_however_much_is_logged(
    spawn: Spawn, tmp_path: Path
) -> None:
    server = spawn("--demo", "--output-dir", str(tmp_path), "--log-level", "DEBUG")
    server.initialize()
    server.ask("tools/list")
    server.call("generate_image", prompt="a red fox", **SMALL)
    server.call("batch_generate", prompts=["fox", "owl"], **SMALL)
    server.call("generate_image", prompt="")
    server.send("garbage")
    server.call("gpu_status")
    assert server.end() == 0
    messages = [json.loads(line) for line in server.lines]
    assert [message["jsonrpc"] for message in messages] == ["2.0"] * len(messages)
    assert [message["id"] for message in messages if "id" in message] == [1, 2, 3, 4, 5, 6]
    assert "DEBUG" in server.errors
    assert "Traceback" not in server.errors


def test_it_starts_and_lists_its_tools_while_no_server_is_up_and_writes_nothing(
    spawn: Spawn, nobody: str, tmp_path: Path
) -> None:
    server = spawn("--vllm-url", nobody, cwd=tmp_path)
    who = server.initialize()["result"]
    assert (who["protocolVersion"], who["serverInfo"]["name"]) == ("2025-11-25", "vllm-image-mcp")
    assert [tool["name"] for tool in server.ask("tools/list")["result"]["tools"]] == TOOLS
    assert server.end() == 0
    assert server.errors == ""
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_in_the_plan_starts_it(spawn: Spawn, omni: "OmniServer", tmp_path: Path) -> None:
    server = spawn("--vllm-url", omni.url, "--output-dir", "./generated_images", cwd=tmp_path)
    server.initialize()
    result = server.call("generate_image", prompt="a red fox", **SMALL)["structuredContent"]
    assert Path(result["file_path"]).parent == tmp_path / "generated_images"
    assert result["notes"] == []
    assert server.end() == 0


def test_started_as_documented_it_does_not_import_modules_of_a_project_instead_of_those_of_python(
    spawn: Spawn, tmp_path: Path
) -> None:
    for name in ("secrets", "email", "queue", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the project')", "utf-8")
    server = spawn("--demo", command=(sys.executable, "-P", "-m", "vllm_image_mcp"), cwd=tmp_path)
    assert server.initialize()["result"]["serverInfo"]["name"] == "vllm-image-mcp"
    assert (server.end(), server.errors) == (0, "")


def test_the_package_itself_is_the_command_line() -> None:
    command = [sys.executable, "-P", "-m", "vllm_image_mcp", "--help"]
    run = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert run.stdout.startswith("Usage: vllm-image-mcp [OPTIONS]")


def test_the_console_script_is_the_same_program(spawn: Spawn) -> None:
    script = shutil.which("vllm-image-mcp", path=sysconfig.get_path("scripts"))
    assert script
    server = spawn("--demo", command=(script,))
    server.initialize()
    assert server.call("server_health")["structuredContent"]["server_url"] == "http://simulator"
    assert server.end() == 0


def test_it_ends_at_once_if_nobody_ever_spoke(spawn: Spawn) -> None:
    server = spawn("--demo")
    assert (server.end(), server.lines, server.errors) == (0, [], "")


def test_requests_that_came_before_the_end_of_stdin_are_answered(spawn: Spawn) -> None:
    server = spawn("--demo")
    lines = [
        INITIALIZE.decode().strip(),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        '{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}',
        '{"jsonrpc": "2.0", "id": 3, "method": "ping"}',
    ]
    server.send("\n".join(lines))
    assert server.end() == 0
    answers = [json.loads(line) for line in server.lines]
    assert sorted(answer["id"] for answer in answers if "result" in answer) == [1, 2, 3]


def test_a_call_to_an_unknown_tool_is_answered_with_the_known_ones(demo: "StdioServer") -> None:
    answer = demo.call("generateImage", prompt="a red fox")
    assert answer["isError"]
    assert text(answer) == f"Unknown tool: generateImage. Use one of: {', '.join(TOOLS)}."


def test_the_end_of_stdin_ends_it_in_the_middle_of_an_image(
    spawn: Spawn, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    server.initialize()
    server.send(raw_call(7, '{"prompt": "a red fox"}'))
    omni.wait_for(1)
    assert server.end() == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != ".vllm-image"] == []


async def test_progress_of_a_call_that_was_cancelled_is_not_written() -> None:
    with ExitStack() as stack:
        ends = [*os.pipe(), *os.pipe()]
        incoming, to_server, from_server, outgoing = ends
        host = StdioHost(Pipes(incoming, outgoing), on_answer=lambda: None)
        stack.callback(lambda: [os.close(end) for end in (to_server, from_server)])
        host.open()
        for line in (
            b'{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"_meta":{"progressToken":"gone"}}}\n',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}}\n',
        ):
            os.write(to_server, line)
            await host.incoming.receive()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(host.write_all())
            for token in ("gone", "here"):
                params = {"progressToken": token, "progress": 1}
                await host.outgoing.send(
                    SessionMessage(
                        JSONRPCNotification(jsonrpc="2.0", method="notifications/progress", params=params)
                    )
                )
            await host.outgoing.aclose()
        written = os.read(from_server, 65_536)
        host.end()
        await host.incoming.aclose()
    assert b"here" in written
    assert b"gone" not in written


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_image_in_progress_finish_and_its_batch_be_resumed(
    spawn: Spawn, omni: "OmniServer", tmp_path: Path, number: signal.Signals
) -> None:
    omni.hold_after(0)
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    server.initialize()
    arguments = json.dumps({"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL})
    server.send(raw_call(80, arguments).replace("generate_image", "batch_generate"))
    omni.wait_for(1)
    server.process.send_signal(number)
    server.wait_for_log("Stopping: images in progress have 10 s")
    omni.release()
    batch = server.answer(80)["result"]["structuredContent"]
    assert server.wait() == -number
    assert (batch["status"], batch["images_generated"], batch["images_left"]) == ("interrupted", 1, 2)
    assert len(omni.requests) == 1
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert "Traceback" not in server.errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_second_signal_ends_it_at_once(spawn: Spawn, omni: "OmniServer", tmp_path: Path) -> None:
    omni.hold_after(0)
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    server.initialize()
    server.send(raw_call(81, '{"prompt": "a red fox"}'))
    omni.wait_for(1)
    server.process.terminate()
    server.wait_for_log("Stopping: images in progress have 10 s")
    server.process.terminate()
    assert server.wait() == -signal.SIGTERM
    assert "Traceback" not in server.errors


@pytest.mark.skipif(sys.platform == "win32", reason="a broken pipe is noticed there by the next message only")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in mid-call"])
def test_a_host_that_closes_stdout_ends_it(
    omni: "OmniServer",
    tmp_path: Path,
    busy: bool,  # noqa: FBT001 - given by its name
) -> None:
    omni.hold_after(0)
    command = [sys.executable, "-m", "vllm_image_mcp", "--vllm-url", omni.url, "--output-dir", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(INITIALIZE)
        if busy:
            process.stdin.write(raw_call(9, '{"prompt": "a red fox"}').encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline()
        if busy:
            omni.wait_for(1)
        process.stdout.close()
        if sys.platform != "linux":  # elsewhere the next answer detects it
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 10, "method": "ping"}\n')
            process.stdin.flush()
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections are needed")
@pytest.mark.parametrize("redirection", ["<&-", ">&-", "<&- >&-"])
def test_without_stdin_or_stdout_it_says_what_it_needs(redirection: str) -> None:
    command = f'exec "{sys.executable}" -m vllm_image_mcp --demo {redirection}'
    run = subprocess.run(
        ["/bin/sh", "-c", command], stderr=subprocess.PIPE, check=False, timeout=60, text=True
    )
    assert run.returncode == 1
    assert "An MCP server needs stdin and stdout, but one of them is closed" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_call_that_was_cancelled_gets_no_progress_and_no_answer(
    spawn: Spawn, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    server.initialize()
    asked = json.loads(raw_call(82, '{"prompt": "a red fox"}'))
    asked["params"]["_meta"] = {"progressToken": "p"}
    server.send(json.dumps(asked))
    omni.wait_for(1)
    server.send('{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 82}}')
    server.ask("ping")
    before = len(server.notified("notifications/progress"))
    omni.release()
    server.call("generate_image", prompt="a blue fox", **SMALL)
    assert server.end() == 0
    assert len(server.notified("notifications/progress")) == before
    assert [line for line in server.lines if json.loads(line).get("id") == 82] == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(spawn: Spawn, number: signal.Signals) -> None:
    server = spawn("--demo")
    server.initialize()
    server.call("server_health")
    server.process.send_signal(number)
    assert server.wait() == -number
    assert "Traceback" not in server.errors


def home(folder: Path) -> dict[str, str]:
    """The environment of a user whose home folder this is."""
    return {
        **dict.fromkeys(("HOME", "USERPROFILE", "XDG_CONFIG_HOME"), str(folder)),
        "WIN_PD_OVERRIDE_MYPICTURES": str(folder / "Pictures"),  # the system itself knows no other user
    }


def test_without_a_terminal_and_a_folder_images_go_to_the_pictures_folder_not_to_that_of_the_host(
    spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    server = spawn("--demo", cwd=tmp_path / "host", env=home(tmp_path))
    server.initialize()
    result = server.call("generate_image", prompt="a red fox", **SMALL)["structuredContent"]
    assert Path(result["file_path"]).parent == tmp_path / "Pictures" / "vllm-image"
    assert list((tmp_path / "host").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's limits")
def test_a_server_works_as_launchd_starts_it(spawn: Spawn, tmp_path: Path) -> None:
    # launchd gives its children an almost empty environment, 256 files and / as their working folder.
    limited = ("/bin/sh", "-c", 'ulimit -n 256; exec /usr/bin/env -i "$@"', "sh")
    command = (*limited, sys.executable, "-P", "-m", "vllm_image_mcp.server")
    server = spawn("--demo", "--output-dir", str(tmp_path), command=command, cwd=Path("/"))
    server.initialize()
    prompts = [f"fox {number}" for number in range(6)]
    answer = server.call("batch_generate", prompts=prompts, **SMALL)["structuredContent"]
    assert (answer["status"], answer["images_generated"]) == ("success", 6)
    assert len(list(tmp_path.glob("*.png"))) == 6


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that root cannot write, either, is /proc")
def test_if_the_working_folder_is_not_writable_images_go_to_the_pictures_folder(
    spawn: Spawn, tmp_path: Path
) -> None:
    server = spawn("--demo", "--output-dir", "generated_images", cwd=Path("/proc"), env=home(tmp_path))
    server.initialize()
    result = server.call("generate_image", prompt="a red fox", **SMALL)["structuredContent"]
    pictures = tmp_path / "Pictures" / "generated_images"
    note = f"Images are saved in {pictures}, because /proc/generated_images cannot be written."
    assert Path(result["file_path"]).parent == pictures
    assert note in result["notes"]
    assert note in server.call("batch_generate", prompts=["fox"], **SMALL)["structuredContent"]["notes"]
    assert server.end() == 0
    assert note in server.errors


def test_options_may_come_from_the_environment(spawn: Spawn, omni: "OmniServer", tmp_path: Path) -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="canary-7f3a")
    environment = {
        "VLLM_IMAGE_URL": omni.url,
        "VLLM_IMAGE_OUTPUT_DIR": str(tmp_path / "pictures"),
        "VLLM_IMAGE_API_KEY": "canary-7f3a",
    }
    server = spawn(env=environment)
    server.initialize()
    result = server.call("generate_image", prompt="a red fox", **SMALL)["structuredContent"]
    assert Path(result["file_path"]).parent == tmp_path / "pictures"
    assert server.end() == 0


def test_arguments_override_the_environment_and_the_key_is_shown_nowhere(
    spawn: Spawn, omni: "OmniServer", nobody: str, tmp_path: Path
) -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="canary-7f3a")
    environment = {"VLLM_IMAGE_URL": nobody, "VLLM_IMAGE_API_KEY": "canary-of-the-environment"}
    server = spawn(
        *("--vllm-url", omni.url),
        *("--api-key", "canary-7f3a"),
        *("--output-dir", str(tmp_path)),
        *("--log-level", "DEBUG"),
        env=environment,
    )
    server.initialize()
    assert not server.call("generate_image", prompt="a red fox", **SMALL)["isError"]
    for tool in ("gpu_status", "server_health", "get_model_info"):
        server.call(tool)
    omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="another")
    assert server.call("generate_image", prompt="a red fox", **SMALL)["isError"]
    assert server.end() == 0
    assert b"canary" not in b"".join(server.lines)
    assert "canary" not in server.errors


def test_two_servers_share_a_folder_without_taking_files_from_each_other(
    spawn: Spawn, tmp_path: Path
) -> None:
    servers = [spawn("--demo", "--output-dir", str(tmp_path)) for _ in range(2)]

    def ten_pictures(server: "StdioServer") -> list[str]:
        server.initialize()
        batch = server.call("batch_generate", prompts=["a red fox"] * 10, **SMALL)["structuredContent"]
        return [each["file_path"] for each in batch["results"]]

    with ThreadPoolExecutor() as threads:
        told = [path for paths in threads.map(ten_pictures, servers) for path in paths]
    assert [server.end() for server in servers] == [0, 0]
    assert len(set(told)) == 20
    assert {str(path) for path in tmp_path.glob("*.png")} == set(told)


def test_an_unknown_model_is_reported_in_the_log(spawn: Spawn, omni: "OmniServer", tmp_path: Path) -> None:
    omni.runs("acme/painter")
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    server.initialize()
    server.call("get_model_info")
    assert server.end() == 0
    assert (
        "Model 'acme/painter' is not in the known profiles. Using fallback defaults "
        "(steps=28, guidance=5.0). Generation may produce unexpected results."
    ) in server.errors


def test_at_a_terminal_it_says_what_it_waits_for(spawn: Spawn) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    import pty  # noqa: PLC0415 - not on Windows

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vllm_image_mcp.server", "--demo"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        assert process.stderr
        assert b"Press Ctrl-C to stop it" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
    os.close(ours)
