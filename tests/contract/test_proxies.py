"""Azure through a company's proxy: used as the environment says, or refused with words; the metadata service never."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from azure_cni.azure.credentials import MISLEADING
from azure_cni.azure.imds import Imds
from azure_cni.azure.proxies import EXCEPTIONS, VARIABLES, proxy_for
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.entrypoints import settings as settings_module
from azure_cni.entrypoints.azure_wiring import open_arm
from azure_cni.errors import CloudUnreachable, ConfigInvalid
from contract.nic_world import Calls
from fakeazure import Endpoints, FakeAzure
from fakes.proxy import ConnectProxy

ARM = "https://management.azure.com"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "http://lower:1"),
        ({"HTTPS_PROXY": "https://proxy:3129"}, "https://proxy:3129"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://user:pa%40ss@proxy:3128"}, "http://user:pa%40ss@proxy:3128"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"ALL_PROXY": "socks5://other:1", "HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": " ", "ALL_PROXY": ""}, None),
    ],
)
def test_which_proxy(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(ARM, environ) == proxy


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        (ARM, "*", True),
        (ARM, "management.azure.com", True),
        (ARM, "MANAGEMENT.azure.com", True),
        (ARM, "azure.com", True),
        (ARM, ".azure.com", True),
        (ARM, "*.azure.com", True),
        (ARM, "other.example, .azure.com", True),
        (ARM, "other.example .azure.com", True),
        (ARM, "azure.com:443", True),
        (ARM, "azure.com:8443", False),
        (ARM, "zure.com", False),
        (ARM, "login.microsoftonline.com", False),
        (ARM, "10.0.0.0/8", False),
        (ARM, ",", False),
        (ARM, ".", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3", "10.2.0.0/16", False),
        ("https://[fd00::1]", "fd00::/8", True),
    ],
)
def test_what_is_asked_directly(url: str, no_proxy: str, *, direct: bool) -> None:
    for name in EXCEPTIONS:
        assert (proxy_for(url, {"HTTPS_PROXY": "http://p:1", name: no_proxy}) is None) is direct


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("socks5://proxy:1080", "socks5 proxies are not supported"),
        ("socks5h://proxy:1080", "socks5h proxies are not supported"),
        ("ftp://proxy", "ftp proxies are not supported"),
        ("http://", "it names no host"),
        ("http://proxy:99999", "Port out of range"),
        ("http://proxy:port", "Port could not be cast"),
        ("http://[", "Invalid IPv6 URL"),
    ],
)
def test_a_proxy_of_no_use_is_refused_with_words(name: str, value: str, why: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"cannot start: {name} is .*{why}.*; it must be the URL of an HTTP proxy"):
        proxy_for(ARM, {name: value})


def test_a_refusal_does_not_show_the_password() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        proxy_for(ARM, {"HTTPS_PROXY": "socks5://user:secret@proxy:1080"})
    assert "secret" not in str(caught.value)


class Site:
    """A node with the settings of an agent, and what it asks Azure."""

    def __init__(self, azure: FakeAzure, endpoints: Endpoints) -> None:
        self.azure, self.endpoints = azure, endpoints
        self.meter = Calls()

    @property
    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(Path(self.endpoints.ca_file).parent / "server.pem")
        return context

    async def identify(self) -> None:
        environment = {
            "AZURE_CNI_ARM_ENDPOINT": self.endpoints.arm,
            "AZURE_CNI_CA_FILE": str(self.endpoints.ca_file),
            "AZURE_CNI_IMDS_ENDPOINT": self.endpoints.imds,
        }
        settings = settings_module.azure(settings_module.Reader(environment))
        async with contextlib.AsyncExitStack() as closing:
            arm = open_arm(settings, meter=self.meter, closing=closing)
            await ArmVmIdentity(Imds(meter=self.meter, url=self.endpoints.imds), arm).identify()


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    for name in (*MISLEADING, *VARIABLES, *EXCEPTIONS, "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    azure = FakeAzure(seed=3)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/22"})
    azure.add_vm("vm1")
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        yield Site(azure, endpoints)


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("by_tls", [False, True], ids=["plain", "TLS"])
async def test_the_resource_manager_is_asked_through_the_proxy_and_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, *, by_tls: bool
) -> None:
    async with ConnectProxy().serve(tls=site.tls if by_tls else None) as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await site.identify()
    assert set(proxy.asked) == {site.endpoints.arm.removeprefix("https://")}
    assert site.azure.calls["imds.token"] == site.azure.calls["imds.instance"] == 1


async def test_no_proxy_is_heeded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy().serve() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        await site.identify()
    assert proxy.asked == []


async def test_a_proxy_with_a_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy(user="user", password="pa@ss").serve() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:pa%40ss@"))
        await site.identify()
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(CloudUnreachable, match=r"cannot read VM vm1: no answer from https://127.*407"):
            await site.identify()


async def test_a_proxy_that_cannot_be_used_stops_the_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """To Windows a variable's name is the same in lower case."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigInvalid, match=r"(?i)cannot start: ALL_PROXY is .* proxies are not supported"):
        await site.identify()


async def test_no_password_for_azure_comes_out_of_a_netrc_file(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await site.identify()
