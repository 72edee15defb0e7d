"""What others wrote, as it stands in our messages."""

import pytest

from azure_cni.model.text import LONGEST, legible


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
