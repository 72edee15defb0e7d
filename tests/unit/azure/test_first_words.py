"""What a person reads first of an answer that is not Azure's."""

import time

import pytest

from azure_cni.azure.answers import ArmAnswer


def first_words(page: str) -> str:
    return ArmAnswer(502, {}, page.encode()).first_words


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("", ""),
        ("plain words", "plain words"),
        ("<html><head><style>p {x: y}</style></head><p\nclass=a>Access\n denied</p>", "Access denied"),
        ("<SCRIPT>if (1 < 2) {}</SCRIPT >then <b>bold</b>", "then bold"),
        ("<scripted>is no script</scripted>", "is no script"),
        ("a < b", "a < b"),
        ("before<script>without an end", "before"),
        ("before <a href='without an end", "before <a href='without an end"),
    ],
)
def test_markup_scripts_and_styles_are_left_out(page: str, words: str) -> None:
    assert first_words(page) == words


@pytest.mark.parametrize(
    "piece", ["<", "<script ", "<style>", "<script></style>", "</script", "<a ", "<script>x</script>"]
)
def test_no_page_keeps_the_event_loop_for_long(piece: str) -> None:
    """64 KiB of "<" took 13 s of the processor, and every ADD waited. Milliseconds are meant; 2 s is no accident."""
    begun_s = time.process_time()
    first_words(piece * (65536 // len(piece)))
    assert time.process_time() - begun_s < 2.0
