"""What people install starts, answers, completes, and is found by kubectl: from a wheel and as one file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from azure_cni import __version__
from azure_cni.entrypoints.cli import FOR_PEOPLE
from azurebox import tools
from azurebox.facts import REPOSITORY
from contract.azure_world import login_of, served
from contract.person import kubeconfig
from fakeazure import FakeAzure
from fakes.installed_command import Installed, from_wheel, one_file
from fakes.kubeapi import POOLS, QUOTAS, TOKEN, FakeKubeAPI
from single_file.start import BUILD, compiled_for
from unit.diagnose.clusters import condition, pool, quota

NAMES = ("azure-cni", "kubectl-azure_cni")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return one_file(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return from_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["wheel", "file"])
def installed(request: pytest.FixtureRequest) -> Installed:
    found: Installed = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("program", NAMES)
def test_it_says_its_version_and_its_commands(installed: Installed, program: str):
    assert installed.run("--version", program=program).stdout == f"azure-cni, version {__version__}\n"
    shown = installed.run("--help", program=program).stdout
    assert [name for name in FOR_PEOPLE if name != "introspect" and f"  {name} " not in shown] == []


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_the_one_file_has_all_that_a_command_loads(file: Installed, name: str):
    done = file.run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: azure-cni {name} ")


async def test_it_answers_about_a_cluster(installed: Installed, tmp_path: Path):
    api = FakeKubeAPI()
    full = pool("vm1", condition("Ready", False, "SubnetFull", "the subnet has no room"))
    api.put(POOLS, "vm1", spec=full["spec"], status=full["status"])
    api.put(QUOTAS, "vnet", spec=quota()["spec"], status=quota()["status"])
    async with api.serve() as url:
        flags = ("--kubeconfig", kubeconfig(tmp_path, url=url, token=TOKEN))
        for form in ("json", "yaml", "table"):
            done = await asyncio.to_thread(installed.run, "status", "-o", form, *flags)
            assert (done.returncode, done.stderr) == (1, "")
            assert "SubnetFull" in done.stdout
            if form == "json":
                assert "SubnetFull" in [one["code"] for one in json.loads(done.stdout)["findings"]]
        refused = await asyncio.to_thread(installed.run, "plan", "vm9", *flags)
        assert (refused.returncode, "cannot find node vm9" in refused.stderr) == (3, True)
        api.refusals[""] = 500
        broken = await asyncio.to_thread(installed.run, "status", *flags)
        assert (broken.returncode, "made to fail" in broken.stderr) == (3, True)


async def test_it_asks_azure(installed: Installed, tmp_path: Path):
    api = FakeKubeAPI()
    async with served(FakeAzure(seed=1)) as world, api.serve() as url:
        flags = ("--kubeconfig", kubeconfig(tmp_path, url=url, token=TOKEN), "-o", "json")
        group = world.vm.id.partition("/providers/")[0]
        person = world.azure.add_identity("jane")
        words = ("check", "--pre", "--azure", "--resource-group", group, *flags)
        done = await asyncio.to_thread(installed.run, *words, **login_of(person, world, tmp_path))
        found = {one["code"]: one["result"] for one in json.loads(done.stdout)["checks"]}
        assert (found["VmIdentity"], found["NicNotFound"], done.stderr) == ("good", "good", "")
        assert world.azure.calls["vm.list"] == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_prints_what_a_shell_completes_by(installed: Installed, shell: str):
    source = installed.run("completion", shell).stdout
    assert f"_AZURE_CNI_COMPLETE={shell}_complete" in source


def test_bash_completes_commands_and_flags(installed: Installed):
    for words, proposed in (("azure-cni sta", "status"), ("azure-cni status --ku", "--kubeconfig")):
        script = f"""source <(azure-cni completion bash)
            COMP_WORDS=({words}) COMP_CWORD={len(words.split()) - 1}
            _azure_cni_completion azure-cni
            printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = installed.run("-c", script, program="bash")
        assert done.stdout.split() == [proposed], done.stderr


def test_kubectl_runs_and_completes_it(installed: Installed, tmp_path: Path):
    kubectl = tools.path("kubectl")
    if not kubectl.exists():
        pytest.skip("there is no kubectl here: run e2e/box tools")
    done = installed.run("azure-cni", "--version", program=str(kubectl), HOME=str(tmp_path))
    assert done.stdout == f"azure-cni, version {__version__}\n"
    found = installed.run("__complete", "azure-cni", "sta", program=str(kubectl), HOME=str(tmp_path))
    assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ["status", ":4"]


def test_the_one_file_runs_no_process_of_the_cluster(file: Installed):
    done = file.run("agent")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "the one-file command line runs no agent" in done.stderr


def test_the_one_file_unpacks_once_and_whole(file: Installed, tmp_path: Path):
    """Also where several begin at once: one of them is first."""
    cache = Installed(file.programs, tmp_path)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: cache.run("--version"), range(3)))
    assert {(one.stdout, one.stderr) for one in done} == {(f"azure-cni, version {__version__}\n", "")}
    (packages,) = (tmp_path / "azure-cni").iterdir()
    assert packages.stat().st_mode & 0o077 == 0
    kept = packages.stat().st_ino
    assert cache.run("status", "--help").returncode == 0
    assert [one.stat().st_ino for one in (tmp_path / "azure-cni").iterdir()] == [kept]


def test_the_one_file_trusts_no_cache_that_others_may_write(file: Installed, tmp_path: Path):
    cache = Installed(file.programs, tmp_path)
    cache.run("--version")
    root = tmp_path / "azure-cni"
    (planted,) = root.rglob("entrypoints/cli.py")
    planted.write_text("raise SystemExit('planted')\n")
    root.chmod(0o777)
    done = cache.run("--version", TMPDIR=str(tmp_path))
    assert done.stdout == f"azure-cni, version {__version__}\n"
    assert [one.name for one in tmp_path.iterdir()] == ["azure-cni"], "what it used instead is gone"


def test_the_one_file_works_where_there_is_no_cache(file: Installed, tmp_path: Path):
    closed = Path("/proc/self/fdinfo")  # nobody can make a directory there, not even root
    done = Installed(file.programs, closed).run("--version", TMPDIR=str(tmp_path))
    assert (done.stdout, done.stderr) == (f"azure-cni, version {__version__}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_one_file_says_which_python_it_needs(file: Installed, tmp_path: Path):
    """Another version's modules do not load."""
    other = tmp_path / "azure-cni"
    start = REPOSITORY / "operator" / "single_file" / "start.py"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("__main__.py", start.read_bytes())
        archive.writestr(BUILD, json.dumps({"digest": "x", "compiledFor": "cp399 vax", "python": "3.99"}))
    done = subprocess.run([file.programs / "python3", other], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this file is for Python 3.99 (cp399 vax)" in done.stderr
    assert compiled_for() in done.stderr
    python = tmp_path / "python3.99"
    python.write_text('#!/bin/sh\necho "handed over: $*"\n')
    python.chmod(0o755)
    done = file.run(str(other), "status", program=str(file.programs / "python3"), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout == f"handed over: {other} status\n"


def test_the_same_packages_make_the_same_file(file: Installed, tmp_path: Path):
    again = one_file(tmp_path)
    assert (again.programs / "azure-cni").read_bytes() == (file.programs / "azure-cni").read_bytes()
