"""The file docker.toml: the chart's names and defaults, and a sentence for each value that is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from azure_cni.cni.conflist import BANDWIDTH, PORTMAP
from azure_cni.entrypoints import docker_settings
from azure_cni.entrypoints.cli import main
from azure_cni.entrypoints.docker_settings import STANDARD_FILE, DockerSettings, read, read_file
from azure_cni.entrypoints.toml_values import lines_of
from azure_cni.entrypoints.web import Bind
from azure_cni.errors import ConfigInvalid
from azure_cni.model.nic import Adopt, NicWriter
from azurebox.facts import REPOSITORY

WHOLE = """
nicWriter = "none"
routablePrefixes = ["10.240.0.0/16", "192.168.50.0/24"]
[pool]
minFree = 2
maxFree = 6
batch = 4
max = 60
[quota]
limit = 4000
reserved = 500
[azure]
cloud = "AzureUSGovernment"
resourceManagerEndpoint = "https://arm.example"
clientID = "c"
adopt = "plain"
caFile = "/etc/ca.crt"
metadataEndpoint = "http://127.0.0.1:9"
[imds]
allowPods = true
[agent]
logLevel = "debug"
logFormat = "json"
shrinkDelaySeconds = 60
coolingSeconds = 10.5
resyncSeconds = 120
[audit]
maxSizeMiB = 8
maxDays = 7
[metrics]
port = 9900
bind = "node"
address = "10.240.0.4"
[docker]
socket = "/tmp/plugin.sock"
engineSocket = "/tmp/docker.sock"
runDirectory = "/tmp/run"
stateDirectory = "/tmp/state"
waitSeconds = 3
[cni]
enabled = true
binDir = "/usr/lib/cni"
confDir = "/tmp/net.d"
confName = "87-vnet.conflist"
specVersion = "1.1.0"
chainPortmap = false
chainBandwidth = true
plugin = "/tmp/azure-cni"
"""


def test_an_empty_file_is_the_defaults_of_the_chart() -> None:
    chosen = read("")
    values: dict[str, Any] = yaml.safe_load((REPOSITORY / "charts/azure-cni/values.yaml").read_text())
    policy = chosen.node.defaults
    assert {
        "minFree": policy.min_free,
        "maxFree": policy.max_free,
        "batch": policy.batch,
        "size": policy.size or 0,
        "max": policy.maximum,
        "blocks": policy.blocks,
        "subnets": [],  # for nodes of a cluster: here the pool is on the VM's primary NIC
    } == values["pool"]
    assert (chosen.quota.limit, chosen.quota.reserved) == (values["quota"]["limit"], values["quota"]["reserved"])
    agent, azure = values["agent"], values["azure"]
    assert chosen.node.cooling_s == agent["coolingSeconds"]
    assert chosen.node.timing.nic_s == agent["resyncSeconds"]
    assert chosen.node.timing.shrink_delay_s == agent["shrinkDelaySeconds"]
    assert (chosen.azure.cloud, chosen.azure.identity, chosen.azure.adopt) == (
        azure["cloud"],
        azure["identity"],
        azure["adopt"],
    )
    assert chosen.azure.shrink_scale_sets is values["scaleSets"]["shrink"]
    assert (chosen.nic_writer, chosen.web.port) == (values["nicWriter"], values["metrics"]["port"])
    assert chosen.node.allow_imds is values["imds"]["allowPods"]
    assert chosen.web.bind is Bind.LOOPBACK
    kept, audit = chosen.audit, values["audit"]
    assert kept is not None
    assert (audit["enabled"], kept.most_bytes, kept.longest_s) == (
        True,
        audit["maxSizeMiB"] << 20,
        audit["maxDays"] * 86_400,
    )
    assert str(kept.directory) == "/var/lib/azure-cni/audit"
    assert chosen.cni is None
    assert not chosen.node.in_cluster
    serving, cni = read("cni.enabled = true").cni, values["cni"]
    assert serving is not None
    assert [str(serving.bin_dir), str(serving.conf_dir), serving.conf_name] == [
        cni["binDir"],
        cni["confDir"],
        cni["confName"],
    ]
    assert (serving.spec_version, serving.chained) == (cni["specVersion"], (PORTMAP,))
    assert (cni["chainPortmap"], cni["chainBandwidth"]) == (True, False)
    assert (str(chosen.socket), str(chosen.engine)) == ("/run/docker/plugins/azure-cni.sock", "/run/docker.sock")


def test_every_value_is_taken() -> None:
    chosen, standard = read(WHOLE), read("")
    for name in DockerSettings.__slots__:
        assert getattr(chosen, name) != getattr(standard, name), name
    assert (chosen.nic_writer, chosen.azure.adopt) == (NicWriter.NONE, Adopt.PLAIN)
    assert chosen.node.nic_read_only
    assert chosen.cni is not None
    paths = (chosen.cni.bin_dir, chosen.cni.conf_dir, chosen.cni.plugin, chosen.cni.run_dir)
    assert [str(path) for path in paths] == ["/usr/lib/cni", "/tmp/net.d", "/tmp/azure-cni", "/tmp/run"]
    assert (chosen.cni.conf_name, chosen.cni.spec_version, chosen.cni.chained) == (
        "87-vnet.conflist",
        "1.1.0",
        (BANDWIDTH,),
    )
    assert read("audit.enabled = false").audit is None
    assert read("docker.engineSocket = ''").engine is None
    assert read("[pool]\nsize = 40").node.defaults.size == 40


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool = [", "docker.toml is no TOML"),
        ("a = 1", "line 1: a: it is not known; known are agent.coolingSeconds"),
        ("[pool]\nminfree = 3", "line 2: pool.minfree: it is not known; write pool.minFree"),
        ("\n[nothing]", "line 2: nothing: it is not known"),
        ("pool = 3", "line 1: pool: it is a table; write [pool]"),
        ("[pool]\nmax = 300", "line 2: pool.max is 300: write a whole number from 1 to 250"),
        ("[pool]\nmax = true", "is True: write a whole number"),
        ("[pool]\nmax = '8'", "is '8': write a whole number"),
        ("[pool]\nblocks = 27", "line 1: pool: its values do not fit together: cannot use blocks 27"),
        ("[pool]\nmaxFree = 10", "line 1: pool: its values do not fit together: cannot use maxFree 10"),
        ("nicWriter = 'controller'", "there is no controller without Kubernetes"),
        ("nicWriter = 'me'", "is 'me': write agent or none"),
        ("nicWriter = ['none']", "write agent or none"),
        ("nicWriter = 'none'", "it needs routablePrefixes"),
        ("nicWriter = 'none'\nroutablePrefixes = ['10.0.0.0/8']\nazure.adopt = 'none'", "would get nothing"),
        ("routablePrefixes = '10.0.0.0/8'", "a list of IPv4 prefixes"),
        ("routablePrefixes = ['10.0.0.1/8']", "has host bits set"),
        ("routablePrefixes = [10]", "a list of IPv4 prefixes"),
        ("[azure]\nidentity = 'workload'", "one of managed"),
        ("[azure]\ncloud = 'AzureGermanCloud'", "one of AzurePublicCloud"),
        ("[azure]\nclientID = 7", "write the client ID of an identity"),
        ("[azure]\ncaFile = 'ca.pem'", 'an absolute path, or "" for none'),
        ('[docker]\nengineSocket = "/run/\\u0000"', "an absolute path"),
        ("[quota]\nlimit = 0", "from 1 to 65536"),
        ("quota.limit = 8\nquota.reserved = 8", "line 2: quota.reserved is 8: no address is left"),
        ("azure.metadataEndpoint = '169.254.169.254'", "write http://HOST or https://HOST"),
        ("azure.resourceManagerEndpoint = 'http://arm.example'", "write https://HOST"),
        ("azure.clientID = {}", "line 1: azure.clientID is {}: write the client ID"),
        ("azure.clientID = ' '", "write the client ID of an identity"),
        ("azure.metadataEndpoint = 'http://h:99999'", "Port out of range"),
        ("azure.metadataEndpoint = 'http://h:0'", "write http://HOST or https://HOST"),
        ("azure.metadataEndpoint = 'http://a b'", "write http://HOST or https://HOST"),
        ("azure.metadataEndpoint = 'http://u:p@h'", "write http://HOST or https://HOST"),
        ("azure.resourceManagerEndpoint = 'https://h/?a=b'", "write https://HOST"),
        ("[imds]\nallowPods = 'yes'", "true or false"),
        ("[agent]\ncoolingSeconds = -1", "a number of seconds from 0"),
        ("[agent]\ncoolingSeconds = nan", "a number of seconds from 0"),
        ("[agent]\nresyncSeconds = 0", "a number of seconds from 1"),
        ("[agent]\nlogLevel = 'loud'", "one of info, debug"),
        ("[audit]\nmaxDays = 0", "from 1 to 3650"),
        ("[metrics]\nbind = 'node'", "it needs metrics.address"),
        ("[metrics]\naddress = 'here'", "an IPv4 address of this VM"),
        (
            "[metrics]\nbind = 'node'\naddress = '0.0.0.0'",
            "line 3: metrics.address is '0.0.0.0': write an IPv4 address",
        ),
        ("[metrics]\nport = 1023", "from 1024 to 65535"),
        ("[cni]\nconfName = '../10.conflist'", "the name of a file that ends in .conflist"),
        ("[cni]\nconfName = '10.conf'", "the name of a file that ends in .conflist"),
        ("[cni]\nspecVersion = '0.4.0'", "one of 1.0.0, 1.1.0"),
        ("[cni]\nbinDir = 'bin'", "an absolute path"),
        ("[docker]\nsocket = 'azure-cni.sock'", "an absolute path"),
        (f"[docker]\nsocket = '/{'s' * 107}'", "the kernel takes at most 107 bytes"),
        ("[docker]\nsocket = '/run/docker/plugins/'", "write the path of a file .sock"),
        ("[docker]\nsocket = '/run/azure-cni/../azure-cni/cni.sock'", "in a directory of sockets, /run/docker/plugins"),
        ("[docker]\nsocket = '/run/docker.sock'", "line 2: docker.socket is '/run/docker.sock': Docker itself listens"),
        ("[docker]\nsocket = '/var/run/docker.sock'\nengineSocket = ''", "Docker itself listens there"),
        ("[docker]\nsocket = '/srv/e.sock'\nengineSocket = '/srv/x/../e.sock'", "Docker itself listens there"),
        ("[docker]\nrunDirectory = '/run'", "is '/run': others use it;"),
        ("[docker]\nrunDirectory = '/run/azure-cni/..'", "own, such as /run/azure-cni"),
        ("[docker]\nrunDirectory = '/var/run'", "others use it"),
        ("[docker]\nrunDirectory = '/var/run/docker/'", "others use it"),
        ("[docker]\nstateDirectory = '/'", "others use it"),
        ("[docker]\nstateDirectory = '/var/lib'", "own, such as /var/lib/azure-cni"),
        ("[docker]\nrunDirectory = '/var/lib/azure-cni'", "a reboot must empty it; write a directory below /run"),
        ("[docker]\nrunDirectory = '/run/../opt/azure-cni'", "a reboot must empty it"),
        ("[docker]\nstateDirectory = '/var/run/azure-cni-state'", "a reboot empties it; write one that lasts"),
        ("[docker]\nrunDirectory = '/tmp/a'\nstateDirectory = '/tmp/b/../a'", "line 3: docker.stateDirectory"),
        ("[docker]\nrunDirectory = '/tmp/a'\nstateDirectory = '/tmp/a'", "it is docker.runDirectory"),
        ("[docker]\nwaitSeconds = 500", "from 0 to 120"),
        ("[docker]\nengineSocket = 'docker.sock'", 'an absolute path, or "" for none'),
        ("[docker]\nengineSocket = false", 'an absolute path, or "" for none'),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        read(text)
    assert str(raised.value).startswith("cannot start: docker.toml ")
    assert words in str(raised.value)


def test_directories_of_ones_own_may_be_anywhere() -> None:
    chosen = read("[docker]\nrunDirectory = '/var/run/azure-cni'\nstateDirectory = '/srv/azure-cni'")
    assert (str(chosen.run_dir), str(chosen.state_dir)) == ("/var/run/azure-cni", "/srv/azure-cni")


def test_only_the_standard_file_may_be_missing(tmp_path: Path) -> None:
    assert STANDARD_FILE.exists() or read_file(STANDARD_FILE) == read("")
    with pytest.raises(ConfigInvalid, match="there is no file"):
        read_file(tmp_path / "docker.toml")
    with pytest.raises(ConfigInvalid, match="cannot read"):
        read_file(tmp_path)
    (tmp_path / "latin").write_bytes(b"# d\xe9faut")
    with pytest.raises(ConfigInvalid, match="cannot read"):
        read_file(tmp_path / "latin")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_used_are_found_before_anything_starts(tmp_path: Path, content: str | None) -> None:
    authorities, file = tmp_path / "ca.pem", tmp_path / "docker.toml"
    if content is not None:
        authorities.write_text(content)
    file.write_text(f'azure.caFile = "{authorities}"')
    with pytest.raises(ConfigInvalid, match="cannot use the certificate authorities in"):
        read_file(file)


def test_the_status_of_a_plugin_that_does_not_run(tmp_path: Path) -> None:
    file = tmp_path / "docker.toml"
    file.write_text(f"[docker]\nsocket = '{tmp_path}/none.sock'")
    done = CliRunner().invoke(main, ["docker", "--config", str(file), "status"])
    assert done.exit_code == 1
    assert done.output.startswith(f"azure-cni: cannot ask the plugin at {tmp_path}/none.sock: ")


def test_all_faults_are_named_at_once_in_the_order_of_the_file() -> None:
    text = """\
# a VM
pool.maxfree = 3
routablePrefixes = [
  "10.240.0.0/16",
  "10.241.0.1/16",  # the third line of a statement of four
]
[agent]

logLevel = "loud"
[metrics]
port = 0
"""
    with pytest.raises(ConfigInvalid) as raised:
        read(text)
    first, *faults = str(raised.value).split("\n")
    assert first == "cannot start: docker.toml has 4 faults"
    assert [fault.split(": ")[0].strip() for fault in faults] == ["line 2", "line 3", "line 9", "line 11"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", {}),
        (
            'a = 1\n[b]\n[c]\n# no\nd.e = """\n[x]\ny = 1\n"""\nf = [[1,\n2]]',
            {"a": 1, "b": 2, "c": 3, "c.d.e": 5, "c.f": 9},
        ),
        ("[c]\r\nd = { e = 1, f = 2 }\r\n", {"c": 1, "c.d.e": 2, "c.d.f": 2}),
        ("[[t]]\n'odd name' = 1", {"t": 1, "t.odd name": 2}),
        ("[a.b]\nc = 1\n [a] # of c\nd = [\n[1],\n]\n", {"a.b": 1, "a.b.c": 2, "a": 3, "a.d": 4}),
    ],
)
def test_a_value_is_on_the_line_where_its_statement_begins(text: str, lines: dict[str, int]) -> None:
    assert lines_of(text) == lines


def test_a_long_file_costs_no_more_than_its_lines() -> None:
    """Each statement is read once more, and not all of the file down to it: that took minutes."""
    parsed = []

    def parse(text: str) -> dict[str, Any]:
        parsed.append(len(text))
        return tomllib.loads(text)

    text = "# about this VM\n" * 5000 + "nothing = 1\n"
    assert lines_of(text, parse=parse) == {"nothing": 5001}
    assert sum(parsed) <= len(text)


def test_the_check_says_whether_the_settings_are_right_and_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "docker.toml"
    file.write_text(WHOLE.replace('caFile = "/etc/ca.crt"', ""))  # there is no such file
    told = CliRunner().invoke(main, ["docker", "--config", str(file), "--check-config"])
    assert (told.exit_code, told.stdout) == (0, f"{file}: the settings are right\n")
    file.write_text("[pool]\nmax = 300\nsizes = 1\n")
    told = CliRunner().invoke(main, ["docker", "--config", str(file), "--check-config"])
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"{file} has 2 faults\n  line 2: pool.max is 300: write a whole number" in told.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_the_standard_file_need_not_be_there_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "docker.toml"
    monkeypatch.setattr(docker_settings, "STANDARD_FILE", absent)
    told = CliRunner().invoke(main, ["docker", "--config", str(absent), "--check-config"])
    assert (told.exit_code, told.stdout) == (0, f"{absent}: there is no such file; the defaults are used\n")
