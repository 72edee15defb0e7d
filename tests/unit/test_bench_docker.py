"""What `make bench ARGS=docker` makes of its measurements."""

from bench.docker import table

TOOK = {
    "start": {"azure-cni": [0.2, 0.4, 0.3], "bridge": [0.4, 0.8, 0.6], "macvlan": [0.4, 0.8, 0.6]},
    "remove": {"azure-cni": [0.1, 0.1, 0.1], "bridge": [0.1, 0.1, 0.1], "macvlan": [0.2, 0.2, 0.2]},
}


def test_ratios_are_of_the_same_round() -> None:
    assert [line.split() for line in table(TOOK)] == [
        ["network", "p50", "ms", "of", "bridge"],
        ["start", "azure-cni", "300", "0.50", "0.50", "to", "0.50"],
        ["start", "bridge", "600"],
        ["start", "macvlan", "600", "1.00", "1.00", "to", "1.00"],
        ["remove", "azure-cni", "100", "1.00", "1.00", "to", "1.00"],
        ["remove", "bridge", "100"],
        ["remove", "macvlan", "200", "2.00", "2.00", "to", "2.00"],
    ]
