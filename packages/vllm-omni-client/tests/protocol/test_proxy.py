"""Which proxy of the environment leads to a server."""

import pytest
from vllm_omni_client import AsyncOmniClient, OmniClient
from vllm_omni_client._protocol.proxy import proxy_for

PROXY = "http://proxy.example:3128"


def exempts(no_proxy: str, base_url: str) -> bool:
    return proxy_for(base_url, {"https": PROXY, "http": PROXY, "no": no_proxy}) is None


@pytest.mark.parametrize(
    ("no_proxy", "base_url"),
    [
        ("gpu.example.org", "https://gpu.example.org"),
        ("example.org", "https://gpu.example.org"),
        ("EXAMPLE.org.", "https://gpu.example.org"),
        (".example.org", "https://gpu.example.org"),
        ("*.example.org", "https://gpu.example.org"),
        ("*", "https://gpu.example.org"),
        ("other.example, *", "https://gpu.example.org"),
        ("https://gpu.example.org", "https://gpu.example.org"),
        ("all://gpu.example.org", "http://gpu.example.org"),
        ("gpu.example.org:8443", "https://gpu.example.org:8443"),
        ("gpu.example.org:443", "https://gpu.example.org"),
        ("203.0.114.7", "http://203.0.114.7:8000"),
        ("203.0.114.0/24", "http://203.0.114.7:8000"),
        ("203.0.114.9/24", "http://203.0.114.7:8000"),
        ("2001:4860::/32", "http://[2001:4860::1]:8000"),
        ("[2001:4860::1]", "http://[2001:4860::1]:8000"),
        ("[2001:4860::1]:8000", "http://[2001:4860::1]:8000"),
        ("2001:4860:0::1", "http://[2001:4860::1]:8000"),
        ("a.example b.example\tgpu.example.org", "https://gpu.example.org"),
    ],
)
def test_an_entry_of_no_proxy_that_names_the_server_applies(no_proxy: str, base_url: str) -> None:
    assert exempts(no_proxy, base_url)


@pytest.mark.parametrize(
    "no_proxy",
    [
        "",
        ",, ,",
        "::1",
        "[::1]",
        "[::1",
        "::1]",
        "[]:80",
        "fe80::1%eth0",
        "fd00::/200",
        "10.0.0.0/8",
        "10.0.0.0/99",
        "10.*.*.*",
        "300.1.2.3",
        "*.",
        "**",
        ".",
        "*example.org",
        "ample.org",
        "gpu.example.org:80",
        "gpu.example.org:http",
        "gpu.example.org:",
        "http://gpu.example.org",
        "://",
        "https://",
        "https://[",
        "<local>",
        "gpu.example.org;other",
        "münchen.example",
        "\x00\udc80",
        "a" * 10_000,
        "%zz",
        "[fe80::%25en0]:8080",
    ],
)
def test_an_entry_of_no_proxy_that_names_another_or_nothing_is_skipped(
    no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not exempts(no_proxy, "https://gpu.example.org")
    if "\x00" not in no_proxy:  # the system's environment has no such text
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, no_proxy)
    OmniClient("https://gpu.example.org").close()
    AsyncOmniClient("https://gpu.example.org")


def test_each_scheme_has_its_proxy_and_all_is_for_the_rest() -> None:
    proxies = {"http": "plain.example:1", "all": "socks5://all.example:2"}

    assert proxy_for("http://gpu.example.org", proxies) == "http://plain.example:1"
    assert proxy_for("https://gpu.example.org", proxies) == "socks5://all.example:2"
    assert proxy_for("https://gpu.example.org", {}) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.1.2.3", "gpu", "gpu.local"])
def test_no_proxy_is_used_for_a_server_on_this_machine_or_network(host: str) -> None:
    assert proxy_for(f"http://{host}:8000", {"all": PROXY, "http": PROXY}) is None


def test_an_unusable_proxy_does_not_matter_for_a_server_that_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "gopher://proxy.example")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "fe80::/10,gpu.example.org")
    OmniClient("https://gpu.example.org").close()
