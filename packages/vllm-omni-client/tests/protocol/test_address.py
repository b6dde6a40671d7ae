"""A base URL is understood, or refused with what is allowed; a password in it is never repeated."""

import pytest
from vllm_omni_client._protocol.address import base_url_of, is_private
from vllm_omni_client.errors import InvalidParameter


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("http://localhost:6655", "http://localhost:6655"),
        ("http://localhost:6655/", "http://localhost:6655"),
        ("http://localhost:6655/v1", "http://localhost:6655"),
        (" http://localhost:6655/v1/ \n", "http://localhost:6655"),
        ("HTTP://GPU.Example:80", "http://gpu.example:80"),
        ("https://gpu.example/omni/v1/", "https://gpu.example/omni"),
        ("https://gpu.example/Omni/v10", "https://gpu.example/Omni/v10"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://192.168.0.7", "http://192.168.0.7"),
        ("http://gpu_1:8000", "http://gpu_1:8000"),
        ("http://gpu:", "http://gpu"),
    ],
)
def test_valid_addresses_are_understood(given: str, understood: str) -> None:
    assert base_url_of(given) == understood


@pytest.mark.parametrize(
    "given",
    [
        "",
        "localhost",
        "localhost:6655",
        "/v1",
        "ftp://gpu:21",
        "file:///etc/passwd",
        "http://",
        "http://:8000",
        "http://gpu:abc",
        "http://gpu:0",
        "http://gpu:99999",
        "http://[::1",
        "http://[zz]",
        "http://999.1.1.1",
        "http://a b",
        "http://a\nb",
        "http://-",
        "http://狐.example",
        "http://gpu/a b",
        "http://gpu/?x=1",
        "http://gpu/#x",
        "http://gpu\\@evil",
    ],
)
def test_an_address_that_leads_nowhere_is_refused_with_what_is_allowed(given: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        base_url_of(given)
    assert caught.value.parameter == "base_url"
    assert "http://HOST:PORT" in caught.value.message or "user name" in caught.value.message


@pytest.mark.parametrize(
    "given",
    ["http://me:s3cret@gpu", "http://s3cret@gpu:x", "me:s3cret@gpu", "http://gpu?key=s3cret", "gpu#s3cret"],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        base_url_of(given)
    assert "s3cret" not in caught.value.message


def test_a_missing_scheme_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r"'localhost:6655' .*did you forget \"http://\"\?"):
        base_url_of("localhost:6655")


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("gpu", True),
        ("gpu.local", True),
        ("node.cluster.internal", True),
        ("127.0.0.2", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("169.254.1.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("gpu.example.com", False),
        ("local.example", False),
    ],
)
def test_private_hosts_are_those_that_no_proxy_can_reach(host: str, *, private: bool) -> None:
    assert is_private(host) is private
