"""The files of docs/installers, which people copy: the chart takes the values, other projects know the fields, and what
azure-cni needs of an installer is in each.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from azure_cni.datapath import names
from azure_cni.diagnose.component_settings import KubeProxyFacts
from azure_cni.diagnose.settings_checks import check_kube_proxy
from unit.chart.helm import CHART, REPOSITORY, template
from unit.documentation.markdown import Block, blocks
from unit.documentation.upstream import AZURE_JSON, FILES_BY_NAME, Shape, faults, of_kind

FOLDER = REPOSITORY / "docs" / "installers"
PAGES = {page.stem: page.read_text() for page in sorted(FOLDER.glob("*.md"))}
INSTALLERS = ["kubeadm", "cluster-api", "kubespray", "rke2-k3s", "talos"]
COPIED = [(page, block) for page, text in PAGES.items() for block in blocks(text) if block.language in {"yaml", "json"}]
EACH_FILE = pytest.mark.parametrize(("page", "block"), COPIED, ids=[f"{page}-{block.line}" for page, block in COPIED])
CLOUD_INIT = {"datasource": {"Azure": {"apply_network_config_for_secondary_ips": False}}}


def name_of(block: Block) -> str:
    """The file's name, in its first line."""
    return block.text.partition("\n")[0].removeprefix("# ").partition(": ")[0]


def documents(block: Block) -> list[Any]:
    return [json.loads(block.text)] if block.language == "json" else list(yaml.safe_load_all(block.text))


def shape_of(page: str, block: Block, document: Any) -> Shape | None:
    if block.language == "json":
        return AZURE_JSON
    by_name = next((shape for name, shape in FILES_BY_NAME.items() if name_of(block).startswith(name)), None)
    return by_name if by_name is not None else of_kind(document)


def values_in(page: str, block: Block) -> Iterator[Any]:
    """Values of azure-cni's chart, wherever an installer takes them."""
    if name_of(block) == "values.yaml" and page != "cloud-provider":
        yield from documents(block)
        return
    for document in documents(block):
        if isinstance(document, dict):
            spec = document.get("spec", {})
            yield from (yaml.safe_load(spec[key]) for key in ("valuesTemplate", "valuesContent") if key in spec)
            yield from (document[key] for key in ("custom_cni_chart_values",) if key in document)


@EACH_FILE
def test_each_file_has_the_fields_that_its_project_documents(page: str, block: Block):
    for document in documents(block):
        if list(values_in(page, block)) == [document]:
            continue
        shape = shape_of(page, block, document)
        assert shape is not None, f"no shape in upstream.py for {name_of(block)}"
        assert list(faults(shape, document)) == []


def test_a_misspelt_field_and_a_wrong_type_are_found():
    (block,) = (block for block in blocks(PAGES["kubeadm"]) if name_of(block) == "kubeadm.yaml")
    proxy = documents(block)[-1]
    shape = of_kind(proxy)
    assert shape is not None
    misspelt = copy.deepcopy(proxy)
    misspelt["detectLocal"] = {"interfacePrefix": "acni"}
    assert list(faults(shape, misspelt)) == [".detectLocal.interfacePrefix is unknown"]
    assert list(faults(shape, proxy | {"mode": True})) == [".mode is True"]
    assert of_kind({"apiVersion": "kubeproxy.config.k8s.io/v1", "kind": "KubeProxyConfiguration"}) is None


VALUES = [(page, values) for page, block in COPIED for values in values_in(page, block)]


def test_each_page_has_values_or_says_where():
    assert {page for page, _ in VALUES} == set(INSTALLERS)


@pytest.mark.parametrize(("page", "values"), VALUES, ids=[page for page, _ in VALUES])
def test_the_chart_takes_the_values_and_looks_where_the_runtime_looks(page: str, values: dict[str, Any]):
    made = [one for one in yaml.safe_load_all(template(file=yaml.safe_dump(values))) if one]
    (agent,) = (one for one in made if one["kind"] == "DaemonSet")
    paths = {
        volume["hostPath"]["path"] for volume in agent["spec"]["template"]["spec"]["volumes"] if "hostPath" in volume
    }
    wanted = values.get("cni", {"binDir": "/opt/cni/bin", "confDir": "/etc/cni/net.d"})
    for name in ("binDir", "confDir"):
        assert any(wanted[name] == path or wanted[name].startswith(f"{path}/") for path in paths), wanted[name]
        assert f"`{wanted[name]}`" in PAGES[page] or page in {"kubeadm", "cluster-api", "kubespray"}


def settings(page: str) -> str:
    """All copied text of the page, without comments."""
    return "\n".join(re.sub(r"#.*", "", block.text) for block in blocks(PAGES[page]))


@pytest.mark.parametrize("page", INSTALLERS)
def test_each_installer_hands_out_no_addresses_and_knows_pods_by_their_interface(page: str):
    text = settings(page)
    assert "InterfaceNamePrefix" in text
    prefixes = re.findall(r"(?:interfaceNamePrefix|pod-interface-name-prefix)(?:[:=] ?|:\)\.\*/\\1 )(\w+)", text)
    assert set(prefixes) == {names.PREFIX}
    # CAPZ's own template has it; the page says so.
    assert re.search(r"allocate-node-cidrs\W+(value: )?\W*false", text if page != "cluster-api" else PAGES[page])


def test_the_files_that_cluster_api_writes_on_nodes_are_what_they_say():
    written = [
        (file["path"], file["content"])
        for block in blocks(PAGES["cluster-api"])
        for document in documents(block)
        if block.language == "yaml" and isinstance(document, dict)
        for spec in (document.get("spec", {}),)
        for file in (spec.get("kubeadmConfigSpec") or spec.get("template", {}).get("spec", {})).get("files", ())
        if "content" in file
    ]
    assert sum(path == "/etc/cloud/cloud.cfg.d/90-azure-cni.cfg" for path, _ in written) == 2
    for path, content in written:
        (document,) = (one for one in yaml.safe_load_all(content) if one)
        if path.startswith("/etc/cloud/"):
            assert document == CLOUD_INIT
            assert document in [
                yaml.safe_load(block.text)
                for block in blocks((FOLDER.parent / "install.md").read_text())
                if block.language == "yaml"
            ]
        else:
            shape = of_kind(document)
            assert shape is not None
            assert list(faults(shape, document)) == []


def test_the_version_of_the_chart_is_its_own():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    named = [
        found
        for text in PAGES.values()
        for found in re.findall(r"(?:version: |_version: |azure-cni-)(\d+\.\d+\.\d+)", text)
    ]
    assert named
    assert set(named) == {version}


@pytest.mark.parametrize("page", [*INSTALLERS, "cloud-provider"])
def test_each_page_names_its_sources(page: str):
    assert "\n## Sources\n" in PAGES[page]
    assert "https://" in PAGES[page].partition("\n## Sources\n")[2]


@pytest.mark.parametrize("page", ["kubeadm", "kubespray"])
def test_kube_proxy_is_set_by_the_command_that_check_names(page: str):
    facts = KubeProxyFacts(keys=frozenset({"clusterCIDR", "detectLocalMode", "interfaceNamePrefix"}))
    command = check_kube_proxy(facts, modes=()).command
    assert command in " ".join(PAGES[page].replace("\\\n", " ").split())
