"""What a release says is in it, and where it comes from: each pinned package is listed, in both formats."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker

from azurebox.facts import REPOSITORY
from release import components, contents, provenance, sbom
from release.components import Component
from release.versions import ReleaseError
from unit.chart.helm import render

AT = 1_700_000_000
SUBJECT = Component("azure-cni-image", "1.2.3", "pkg:oci/azure-cni@1.2.3")
LOCK = """\
one==1.0 \\
    --hash=sha256:00
    # via two
two-Parts==2.0+local ; sys_platform == 'linux' \\
    --hash=sha256:00
three==3 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12+deb13u1
Description: words
 Package: not-one

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: media-types
Status: install ok installed
Architecture: all
Version: 1:13.0~1

Package: libssl3t64
Status: install ok installed
Source: openssl
Architecture: amd64
Version: 3.5

Package: libgcc-s1
Status: install ok installed
Source: gcc-14 (14.2.0-19)
Architecture: amd64
Version: 14
"""
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
PROCESSORS = ("amd64", "arm64")
BINARY = """\
/x/azure-cni: go1.26.8
\tpath\tazure-cni.io/azure-cni
\tmod\tazure-cni.io/azure-cni\t(devel)\t
\tdep\tgithub.com/Some/cni\tv1.3.1\th1:x=
\tbuild\t-compiler=gc
"""


def test_of_a_lock_file_those_are_listed_that_are_installed_there():
    assert [(one.name, one.purl) for one in components.python_packages(LOCK, python="3.13")] == [
        ("one", "pkg:pypi/one@1.0"),
        ("two-Parts", "pkg:pypi/two-parts@2.0%2Blocal"),
    ]
    assert [one.name for one in components.python_packages(LOCK, python="3.13", system="win32")] == ["one", "three"]


@pytest.mark.parametrize("name", ["agent.txt", "client.txt"])
def test_each_pin_of_the_lock_files_is_listed_unless_its_marker_is_for_others(name: str):
    text = (REPOSITORY / "requirements" / name).read_text()
    pins = [line.removesuffix(" \\") for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    listed = {f"{one.name}=={one.version}" for one in components.python_packages(text, python="3.13")}
    for pin in pins:
        package, _, marker = pin.partition(" ; ")
        environment = {"sys_platform": "linux", "python_full_version": "3.13.0", "python_version": "3.13"}
        assert (package in listed) == (not marker or Marker(marker).evaluate(environment)), pin
    assert len(listed) > 15


def test_a_binary_lists_its_modules_and_gos_own_library():
    assert [one.purl for one in components.go_modules(BINARY)] == [
        "pkg:golang/github.com/some/cni@v1.3.1",
        "pkg:golang/stdlib@1.26.8",
    ]
    with pytest.raises(ReleaseError, match="could not read Go build info"):
        components.go_modules("/bin/sh: could not read Go build info")


def test_debians_packages_are_those_that_are_installed():
    assert [one.purl for one in components.debian_packages(STATUS, release=RELEASE)] == [
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libgcc-s1@14?arch=amd64&distro=debian-13&upstream=gcc-14%4014.2.0-19",
        "pkg:deb/debian/libssl3t64@3.5?arch=amd64&distro=debian-13&upstream=openssl",
        "pkg:deb/debian/media-types@1%3A13.0~1?arch=all&distro=debian-13",
    ]


def image(path: Path, files: dict[str, str]) -> Path:
    def packed(entries: dict[str, bytes]) -> bytes:
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for name, content in entries.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return whole.getvalue()

    layer = gzip.compress(packed({name: text.encode() for name, text in files.items()}))
    index = json.dumps({"manifests": [{"digest": "sha256:12"}]}).encode()
    path.write_bytes(packed({"blobs/sha256/a": b"{}", "blobs/sha256/b": layer, "index.json": index}))
    return path


def test_an_images_own_list_is_read(tmp_path: Path):
    files = {"etc/x": "", components.DPKG_STATUS: STATUS, components.OS_RELEASE: RELEASE}
    whole = image(tmp_path / "image.tar", files)
    assert components.of_image(whole) == components.debian_packages(STATUS, release=RELEASE)
    with pytest.raises(ReleaseError, match=r"no layer of it has var/lib/dpkg/status"):
        components.of_image(image(tmp_path / "other.tar", {"etc/x": ""}))


def described(name: str, version: str) -> tuple[str, str]:
    """Where pip leaves what it says of a package that it installed."""
    place = f"opt/azure-cni/lib/python3.13/site-packages/{name}-{version}.dist-info/METADATA"
    return place, f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: of the text\n"


def test_the_python_packages_of_an_image_are_read_too_but_not_those_of_debian(tmp_path: Path):
    debians = ("usr/lib/python3/dist-packages/x-1.dist-info/METADATA", "Name: x\nVersion: 1\n")
    files = dict([described("Two.Parts", "2.0"), described("one", "1"), debians, (components.DPKG_STATUS, STATUS)])
    found = components.of_image(image(tmp_path / "image.tar", files))
    assert [one.purl for one in found if one.purl.startswith(components.PYPI)] == [
        "pkg:pypi/two-parts@2.0", "pkg:pypi/one@1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ([("one", "1"), ("azure-cni", "0.9")], r"lacks pkg:pypi/two@2, and it has none"),
        ([("one", "1"), ("two", "2.1")], r"lacks pkg:pypi/two@2, and it has pkg:pypi/two@2\.1 that"),
        ([("one", "1"), ("Two", "2"), ("intruder", "0")], r"lacks none, and it has pkg:pypi/intruder@0 that"),
        ([("one", "1"), ("two", "2"), ("azure-cni", "0.9")], ""),
    ],
)
def test_an_image_with_other_packages_than_the_lock_file_has_is_no_release(
    tmp_path: Path, there: list[tuple[str, str]], words: str
):
    files = dict([*(described(*one) for one in there), (components.DPKG_STATUS, STATUS)])
    built = image(tmp_path / "image.tar", files)
    pinned = components.python_packages("one==1 \\\n    --hash=sha256:0\ntwo==2\n", python="3.13")
    found = components.of_image(built)
    if not words:
        contents.refuse_others(pinned, found, built)
        return
    with pytest.raises(ReleaseError, match=words):
        contents.refuse_others(pinned, found, built)


def test_of_an_image_for_two_processors_both_lists_are_read(tmp_path: Path):
    """As `oci_index` makes it: with layers of both, of which each has a list."""
    layers = [image(tmp_path / name, {components.DPKG_STATUS: STATUS.replace("amd64", name)}) for name in PROCESSORS]
    with tarfile.open(tmp_path / "both.tar", "w") as both:
        for name, one in zip(PROCESSORS, layers, strict=True):
            with tarfile.open(one) as layout:
                member = layout.getmember("blobs/sha256/b")
                content = layout.extractfile(member)
                member.name += name
                both.addfile(member, content)
    named = [one.purl.rpartition("?")[2] for one in components.of_image(tmp_path / "both.tar")]
    assert {words.partition("&")[0] for words in named} == {"arch=amd64", "arch=arm64", "arch=all"}


def of_both_formats(parts: list[Component]) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        json.loads(sbom.spdx(SUBJECT, parts, at=AT)),
        json.loads(sbom.cyclonedx(SUBJECT, parts, at=AT, kind="container")),
    )


PARTS = [
    *components.python_packages((REPOSITORY / "requirements" / "agent.txt").read_text(), python="3.13"),
    *components.go_modules(BINARY),
    *components.debian_packages(STATUS, release=RELEASE),
]


def test_both_formats_list_each_component_by_its_package_url():
    spdx, cyclonedx = of_both_formats(PARTS)
    wanted = {part.purl for part in PARTS}
    assert {one["externalRefs"][0]["referenceLocator"] for one in spdx["packages"]} == wanted | {SUBJECT.purl}
    assert {one["purl"] for one in cyclonedx["components"]} == wanted
    assert cyclonedx["metadata"]["component"]["purl"] == SUBJECT.purl


def test_spdx_has_what_the_format_requires():
    spdx, _ = of_both_formats(PARTS)
    assert spdx["creationInfo"] == {"created": "2023-11-14T22:13:20Z", "creators": ["Tool: azure-cni-release"]}
    identifiers = [one["SPDXID"] for one in spdx["packages"]]
    assert len(set(identifiers)) == len(identifiers)
    assert [one for one in identifiers if not re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one)] == []
    related = {(one["relationshipType"], one["relatedSpdxElement"]) for one in spdx["relationships"]}
    assert related == {("DESCRIBES", "SPDXRef-Subject")} | {("CONTAINS", one) for one in identifiers[1:]}


def test_cyclonedx_has_what_the_format_requires():
    _, cyclonedx = of_both_formats(PARTS)
    references = [one["bom-ref"] for one in cyclonedx["components"]]
    assert len(set(references)) == len(references)
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", cyclonedx["serialNumber"]
    )
    assert cyclonedx["dependencies"][0] == {"ref": SUBJECT.purl, "dependsOn": references}


def test_other_contents_have_another_identifier_and_the_same_the_same():
    assert of_both_formats(PARTS) == of_both_formats(PARTS)
    first, other = of_both_formats(PARTS), of_both_formats(PARTS[1:])
    assert first[0]["documentNamespace"] != other[0]["documentNamespace"]
    assert first[1]["serialNumber"] != other[1]["serialNumber"]


def test_the_statement_names_each_file_the_commit_and_what_pins_the_rest():
    statement = provenance.statement(
        {"a.whl": "12", "b.tgz": "34"}, REPOSITORY, version="1.2.3", commit="abc", tools={"go": "1"}, image=False
    )
    assert (statement["_type"], statement["predicateType"]) == (provenance.STATEMENT, provenance.PREDICATE)
    assert statement["subject"] == [
        {"name": "a.whl", "digest": {"sha256": "12"}},
        {"name": "b.tgz", "digest": {"sha256": "34"}},
    ]
    resolved = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert resolved[0] == {"name": "sources", "digest": {"gitCommit": "abc"}}
    assert [one["name"] for one in resolved[1:]] == list(provenance.LOCKS)
    assert all(re.fullmatch("[0-9a-f]{64}", one["digest"]["sha256"]) for one in resolved[1:])


VALUES: dict[str, Any] = {
    "image": {"repository": "azure-cni/azure-cni", "tag": "", "digest": ""},
    "engine": {"image": {"repository": "registry.k8s.io/a/Engine", "tag": "v1", "digest": "sha256:ab"}},
    "test": {"image": "localhost:5000/x/probe:2.53"},
    "bare": {"image": "localhost:5000/x/other"},
    "none": {"image": ""},
}


def test_of_a_charts_values_each_image_is_listed_with_its_tag_or_digest():
    assert [(one.version, one.purl) for one in components.chart_images(VALUES, version="1.2.3")] == [
        ("1.2.3", "pkg:oci/azure-cni?repository_url=azure-cni/azure-cni&tag=1.2.3"),
        ("latest", "pkg:oci/other?repository_url=localhost%3A5000/x/other&tag=latest"),
        ("2.53", "pkg:oci/probe?repository_url=localhost%3A5000/x/probe&tag=2.53"),
        ("sha256:ab", "pkg:oci/engine@sha256%3Aab?repository_url=registry.k8s.io/a/Engine&tag=v1"),
    ]


def images_of(document: Any) -> set[str]:
    """All that pods of a manifest run."""
    found = {document["image"]} if isinstance(document, dict) and isinstance(document.get("image"), str) else set()
    children = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return found.union(*map(images_of, children))


def test_the_lists_of_the_chart_have_each_image_that_its_pods_run_and_no_other(tmp_path: Path):
    contents.chart_lists(REPOSITORY, tmp_path, AT, "0.1.0")
    spdx, cyclonedx = (json.loads((tmp_path / f"chart.{name}.json").read_text()) for name in ("spdx", "cdx"))
    run = set().union(*(images_of(one) for one in render("networkPolicy.enabled=true", "windows.enabled=true")))
    made_by_hand = {
        argument.removeprefix("--image=")
        for one in render()
        if one["kind"] == "Pod"
        for argument in one["spec"]["containers"][0].get("args", ())
        if argument.startswith("--image=")
    }
    assert len(made_by_hand) == 1
    wanted = run | made_by_hand
    described, *listed = spdx["packages"]
    assert described["name"] == "azure-cni-chart"
    assert {f"{one['name']}:{one['versionInfo']}" for one in listed} == wanted
    assert {f"{one['name']}:{one['version']}" for one in cyclonedx["components"]} == wanted
    assert {one["type"] for one in cyclonedx["components"]} == {"container"}
