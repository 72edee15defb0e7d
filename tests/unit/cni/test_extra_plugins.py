"""Which entries of others' plugins a conflist can have, and what is said of those that it cannot."""

import json
import re

import msgspec
import pytest

from azure_cni.cni.conflist import BANDWIDTH, MULTUS, PORTMAP, conflist
from azure_cni.cni.extra_plugins import (
    ADDRESS_GIVERS,
    GIVEN,
    INTERFACE_MAKERS,
    LARGEST,
    extra_plugins,
    require_distinct,
)
from azure_cni.entrypoints import settings
from azure_cni.errors import ConfigInvalid
from unit.chart.helm import Refused, agent_env, template

CILIUM = {"type": "cilium-cni", "chaining-mode": "generic-veth", "enable-debug": False}
TUNING = {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.core.somaxconn": "500"}}


def test_what_is_given_is_in_the_conflist_as_it_was_given_and_last():
    plugins = extra_plugins(json.dumps([CILIUM, TUNING]))
    _, *others = msgspec.json.decode(conflist(chained=(PORTMAP, BANDWIDTH, *plugins)))["plugins"]
    assert others == [dict(PORTMAP.entry), dict(BANDWIDTH.entry), CILIUM, TUNING]
    assert extra_plugins("[]") == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "no JSON: "),
        ("{}", "not a list of at most 8 entries"),
        (json.dumps([CILIUM] * 9), "not a list of at most 8 entries"),
        ("[1]", "entry 1 is no object with a `type`"),
        (json.dumps([CILIUM, {"type": 7}]), "entry 2 is no object with a `type`"),
        ('[{"type": "../sh"}]', "its type ../sh is no name of a program"),
        ('[{"type": ""}]', "is no name of a program"),
        ('[{"type": "azure-cni"}]', "azure-cni is the first of the list already"),
        *((f'[{{"type": "{name}"}}]', f"{name} makes an interface") for name in sorted(INTERFACE_MAKERS)),
        *((f'[{{"type": "{name}"}}]', f"{name} gives addresses to") for name in sorted(ADDRESS_GIVERS)),
        *((f'[{{"type": "{name}"}}]', f"entry 1: {name} would call azure-cni again") for name in sorted(MULTUS)),
        *((f'[{{"type": "x", "{key}": {{}}}}]', f"entry 1, x: leave out {key}") for key in sorted(GIVEN)),
        ('[{"type": "x", "capabilities": {"ips": 1}}]', "its capabilities are no object of true and false"),
        ('[{"type": "x", "capabilities": []}]', "its capabilities are no object of true and false"),
        (json.dumps([{"type": "x", "y": "z" * LARGEST}]), f"and {LARGEST} at most are taken"),
    ],
)
def test_what_would_stop_every_pod_is_refused_with_the_reason(given: str, said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        extra_plugins(given)


def test_no_plugin_is_called_twice():
    plugins = extra_plugins('[{"type": "portmap"}]')
    require_distinct(plugins)
    with pytest.raises(ValueError, match=r"portmap is chained twice; leave one out, or set cni\.chainPortmap=false"):
        require_distinct((PORTMAP, *plugins))


def test_the_chart_hands_on_what_the_agent_takes():
    value = "cni.extraPlugins[0].type=cilium-cni,cni.extraPlugins[0].chaining-mode=generic-veth"
    set_by_it = {name: value or "10.240.0.4" for name, value in agent_env(value).items()}
    portmap, cilium = settings.read(set_by_it).host.chained
    assert (portmap, cilium.entry) == (PORTMAP, {"type": "cilium-cni", "chaining-mode": "generic-veth"})
    assert "AZURE_CNI_EXTRA_PLUGINS" not in agent_env()


@pytest.mark.parametrize(("more", "taken"), [(0, True), (1, False)])
def test_the_chart_refuses_as_many_characters_as_the_agent_does(more: int, *, taken: bool):
    """Else every agent would end as it starts."""
    entry = {"a": "x" * (LARGEST - len('[{"a":"","type":"tuning"}]') + more), "type": "tuning"}
    file = json.dumps({"cni": {"extraPlugins": [entry]}})
    written = json.dumps([entry], separators=(",", ":"))
    if taken:
        assert json.dumps(written)[1:-1] in template(file=file)
        assert extra_plugins(written)[0].name == "tuning"
        return
    with pytest.raises(
        Refused, match=f"cni.extraPlugins has {LARGEST + 1} characters as JSON, and agents take {LARGEST}"
    ):
        template(file=file)
    with pytest.raises(ValueError, match=f"and {LARGEST} at most are taken"):
        extra_plugins(written)


def test_the_agent_names_the_variable_that_is_wrong():
    with pytest.raises(ConfigInvalid, match=r"AZURE_CNI_EXTRA_PLUGINS is .* \(entry 1: ptp makes an interface"):
        settings.read({"AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_EXTRA_PLUGINS": '[{"type": "ptp"}]'})
