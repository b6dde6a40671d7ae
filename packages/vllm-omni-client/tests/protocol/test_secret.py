"""The API key is removed from what a server says."""

import pytest
from vllm_omni_client._protocol.secret import redact


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("bad key sk-12345678!", "sk-12345678", "bad key [api key]!"),
        ("xsk-12345678y", "sk-12345678", "x[api key]y"),
        ('{"key": "a\\"b5678901"}', 'a"b5678901', '{"key": "[api key]"}'),
        ("a stack trace of key k", "k", "a stack trace of key [api key]"),
        ('{"message": "messages"}', "mess", '{"message": "messages"}'),
        ("Bearer mess.", "mess", "Bearer [api key]."),
        ("é", "sk-12345678", "é"),
    ],
)
def test_a_key_is_hidden_and_a_short_one_only_as_a_word(text: str, secret: str, shown: str) -> None:
    assert redact(text, secret) == shown
