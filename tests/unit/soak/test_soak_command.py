"""What `make soak` is asked for, and how it is asked for the same again."""

from __future__ import annotations

import pytest

from soak.cli import again, options


def test_half_an_hour_of_all_faults_in_an_order_of_its_own_is_the_default():
    chosen = options([])
    assert (chosen.minutes, chosen.mode, chosen.nic_writer, chosen.seed, chosen.only) == (
        30.0, "transparent", "agent", None, [],
    )  # fmt: skip


def test_a_failed_run_says_how_it_is_made_again():
    asked = ["--minutes", "2.5", "--mode", "bridge", "--only", "agent killed", "--nic-writer", "controller"]
    said = again(options(asked), 7)
    assert said == '--minutes 2.5 --mode bridge --nic-writer controller --seed 7 --only "agent killed"'


def test_a_fault_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        options(["--only", "rain"])
    assert ended.value.code == 2
    assert "rain" in capsys.readouterr().err
