"""What helm prints at the end of an installation or an upgrade, made by the real helm."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from azure_cni.kube.pools import GROUP_VERSION
from fakes.kubeapi import QUOTAS, FakeKubeAPI
from unit.chart.helm import CHART, KUBE_VERSION, REPOSITORY, helm

AS_THE_CHART = {"limit": 16000, "perNodeLimit": 250, "writesPerMinute": 100, "reserved": 0}


async def notes(directory: Path, *values: str, quotas: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """The notes, in a cluster with these VNetQuotas; None: one without the kind, as before the first installation.

    `helm template` does not print them, and all else that does needs a whole cluster. So they are rendered as a
    template of a copy of the chart.
    """
    copy = shutil.copytree(CHART, directory / "chart")
    words = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + words + '{{- end -}}\nnotes: {{ include "notes" . | toJson }}\n'
    )
    command = [helm(), "template", "azure-cni", copy, "-n", "kube-system", "-s", "templates/notes.yaml"]
    settings = [argument for value in values for argument in ("--set", value)]
    if quotas is None:
        return rendered([*command, "--kube-version", KUBE_VERSION, *settings])
    api = FakeKubeAPI()
    api.tokens = {""}  # helm sends none without TLS
    for name, spec in quotas.items():
        api.put(QUOTAS, name, spec=spec)
    async with api.serve() as url:
        server = [
            "--dry-run=server",
            "--api-versions",
            GROUP_VERSION,
            "--kubeconfig",
            os.devnull,
            "--kube-apiserver",
            url,
        ]
        return await asyncio.to_thread(rendered, [*command, *server, *settings])


def rendered(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["notes"])


async def test_a_first_installation_says_with_what_the_quota_begins(tmp_path: Path):
    said = await notes(tmp_path, "quota.limit=500")
    assert "The quota of a VNet begins with quota.limit 500." in said
    assert "kubectl edit vnetquota NAME        # as kubectl get vnetquotas lists it\n\nEach agent" in said


async def test_an_upgrade_that_changes_nothing_of_the_quota_says_nothing_of_it(tmp_path: Path):
    said = await notes(tmp_path, quotas={"azbox-vnet": AS_THE_CHART})
    assert "NOT TAKEN" not in said
    assert "VNetQuota azbox-vnet counts, as quota.* says." in said
    assert "begins with" not in said


async def test_an_upgrade_says_which_numbers_a_quota_does_not_take_and_what_does(tmp_path: Path):
    said = await notes(
        tmp_path,
        *("quota.limit=500", "quota.writesPerMinute=40"),
        quotas={"azbox-vnet": AS_THE_CHART, "other": AS_THE_CHART | {"limit": 500, "writesPerMinute": 40}},
    )
    assert "NOT TAKEN: VNetQuota azbox-vnet" in said
    assert "quota.limit is 500, spec.limit 16000" in said
    assert "quota.writesPerMinute is 40, spec.writesPerMinute 100" in said
    assert "perNodeLimit" not in said
    assert "kubectl edit vnetquota azbox-vnet" in said
    assert "NOT TAKEN: VNetQuota other" not in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("controller.enabled=false", "each node grants itself what it asks for"),
        ("nicWriter=none,controller.enabled=false,routablePrefixes={10.0.0.0/8}", "never adds or removes one"),
        ("nicWriter=controller", "The controller writes to the NICs of all nodes."),
        ("metrics.bind=loopback,metrics.prometheusRule.enabled=true", "AzureCNINoLeader fire unless a proxy"),
        ("nicWriter=controller,azure.attestation.required=never", "of another VM can write its NIC"),
    ],
)
async def test_the_notes_follow_the_values(tmp_path: Path, values: str, words: str):
    assert words in await notes(tmp_path, values)


async def test_where_metrics_need_a_token_it_says_how_to_give_the_right(tmp_path: Path):
    said = await notes(tmp_path, "metrics.tls.enabled=true", "metrics.auth=token")
    assert "--serviceaccount=NAMESPACE:ACCOUNT \\\n    --clusterrole=azure-cni-metrics-reader\n" in said


async def test_it_says_how_to_see_that_it_works(tmp_path: Path):
    assert "\n  helm test azure-cni --namespace kube-system --logs\n" in await notes(tmp_path)


async def test_who_uninstalls_later_is_warned_and_every_page_that_is_named_is_there(tmp_path: Path):
    said = await notes(tmp_path)
    assert "Before you uninstall, read docs/uninstall.md: nodes stay Ready then\nand start no pod" in said
    named = re.findall(r"docs/[\w/.-]+\.md", said)
    assert {"docs/install.md", "docs/migration.md", "docs/uninstall.md"} == set(named)
    assert [page for page in named if not (REPOSITORY / page).is_file()] == []
