"""Words: what is indexed of a text, and what a text that is searched for asks for."""

import pytest
from vllm_image_core.storage.full_text import add_spaces, match_expression, plain_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox", "a red fox"),
        ("雪の狐", " 雪  の  狐 "),
        ("fox🦊fox", "fox 🦊 fox"),
        ("\uff26\uff4f\uff58", "Fox"),
        ("Füchse", "Füchse"),
    ],
)
def test_signs_of_scripts_without_spaces_and_emoji_are_words_of_their_own(text: str, expected: str) -> None:
    assert add_spaces(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red fox", '"red" "fox"'),
        ("img_2026-02", '"img 2026 02"'),
        ("sno*", '"sno"*'),
        ("s*", '"s"'),
        ("sn*ow", '"sn ow"'),
        ("雪の", '"雪 の"'),
        ("🦊", '"🦊"'),
        ('" OR ""', '"OR"'),
        ("NEAR(a b, 3)", '"NEAR a" "b" "3"'),
        ("words:x AND NOT y", '"words x" "AND" "NOT" "y"'),
        ("!!! - ^ ( ) * _", ""),
        ("\0 \ud800", ""),
        ("", ""),
    ],
)
def test_nothing_in_a_text_is_an_operator_but_a_star_after_two_letters(text: str, expected: str) -> None:
    assert match_expression(text) == expected


def test_a_long_text_is_cut() -> None:
    assert len(match_expression("ab " * 1_000_000)) == 32 * 5 - 1
    assert plain_words("x" * 1_000_000) == ("x" * 1000,)


def test_the_plain_words_have_no_sign_that_like_knows() -> None:
    assert plain_words("50% of_foxes! 雪の") == ("50", "of", "foxes", "雪", "の")
