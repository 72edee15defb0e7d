"""What others wrote, as it stands in our messages."""

import pytest

from azure_cni.model.text import LONGEST, legible, plain, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("nic-1", "nic-1"),
        ("two\nlines\x00", "two?lines?"),
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * 9000, "x" * LONGEST + "..."),
    ],
)
def test_it_is_one_line_of_bounded_length(text, shown):
    assert legible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("it's 1 (of 2): [a_b-c.d], 3+4=7~", "it's 1 (of 2): [a_b-c.d], 3+4=7~"),
        ('<a> & "b" \\', "?a? ? ?b? ?"),
        ("gr\u00f6\u00dfer\n", "gr??er?"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 37 + "..."),
        ("\u20ac" * 9000, "?" * 37 + "..."),
    ],
)
def test_plain_text_is_as_many_bytes_as_characters_in_any_json(text, shown):
    assert plain(text, 40) == shown


def test_what_is_shortened_is_never_longer():
    assert [shortened("x" * length, 5) for length in (4, 5, 6)] == ["xxxx", "xxxxx", "xx..."]
