"""docs/command-line.md says what the commands are, and what their codes mean."""

import re
from dataclasses import replace

from azure_cni import __version__
from azure_cni.commands.output import ExitCode
from azure_cni.diagnose.checks import check_before
from azure_cni.diagnose.component_settings import KubeProxyFacts
from azure_cni.diagnose.definition_checks import FIELDS, check_definitions
from azure_cni.diagnose.evidence import ClusterEvidence, PodFacts
from azure_cni.diagnose.object_parsing import parse_process
from azure_cni.diagnose.other_programs import EXTRA_PLUGINS, LINK_NAMES, OtherProgram, Program
from azure_cni.diagnose.pool_checks import check_ledgers, check_room
from azure_cni.diagnose.program_checks import check_programs
from unit.commands.reference_table import END, HEAD, PAGE, table
from unit.diagnose.clusters import process

BESIDE = {LINK_NAMES: "calico", EXTRA_PLUGINS: '[{"type":"cilium-cni"}]'}
"""Settings of agents by which Calico and Cilium are there for azure-cni's pods."""


def test_the_table_of_commands_is_that_of_the_code():
    found = PAGE.read_text().partition(HEAD)[2].partition(END)[0]
    assert HEAD + found == table(), "run: python -m unit.commands.reference_table"


def test_every_exit_code_is_there_and_no_other():
    section = PAGE.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d) \|", section, re.MULTILINE)] == [*ExitCode]


def test_every_code_of_status_that_is_no_reason_is_there():
    section = PAGE.read_text().partition("**`status`**")[2].partition("**`check`**")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {
        "AgentAway", "NoAgents", "AwaitingGrant", "AgentPriority", "VersionSkew", "ClientSkew", "Paused", "NearLimit",
    }  # fmt: skip


def test_every_code_of_check_is_there_and_no_other():
    section = PAGE.read_text().partition("**`check`**")[2].partition("**`why`**")[0]
    pods = [PodFacts("kube-system", one, one, other_program=OtherProgram(one, "kube-system", one)) for one in Program]
    nothing = ClusterEvidence(
        kube_proxy=KubeProxyFacts(),
        definitions=FIELDS,
        agents=(replace(parse_process(process("agent")), settings=BESIDE),),
        pods=(*pods, PodFacts("shop", "web", "web", limited=True)),
    )
    after = (
        *check_definitions(nothing, version=__version__),
        check_room(nothing),
        check_ledgers(nothing, now_s=0.0),
        *check_programs(nothing),
    )
    found = (*check_before(nothing), *after)
    codes = [*dict.fromkeys(one.code for one in found)]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == codes
