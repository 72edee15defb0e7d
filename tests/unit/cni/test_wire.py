import json
from ipaddress import IPv4Address

import msgspec
import pytest

from azure_cni import errors
from azure_cni.cni.systems import WINDOWS
from azure_cni.cni.wire import VERBS, Add, Check, Collect, Delete, Status, decode, error_body, version_of
from azure_cni.datapath.interface import NO_OPTIONS, Resolver
from azure_cni.errors import ConfigInvalid, DecodeFailed, EnvironmentInvalid, VersionUnsupported
from azure_cni.host.audit_lines import LONGEST_LINE
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.audit_records import Handover, record_of

CONFIG = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni"}
ARGS = {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web-0", "K8S_POD_UID": "u-1", "IgnoreUnknown": "1"}
SANDBOX = Sandbox("azure-cni", "c1", "eth0")
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "acni1"}, {"name": "eth0", "sandbox": "/run/netns/a"}],
    "ips": [{"address": "10.240.0.9/32", "interface": 1}],
}


def body(config=CONFIG, **fields) -> bytes:
    whole = {"containerID": "c1", "netns": "/run/netns/a", "ifname": "eth0", "args": ARGS, "path": "/opt/cni/bin"}
    return json.dumps(whole | fields | {"config": config}).encode()


def test_add():
    request = decode("add", body())
    assert isinstance(request, Add)
    assert request.holder == Holder(SANDBOX, "/run/netns/a", "shop", "web-0", "u-1")
    assert request.config.version == "1.1.0"


def test_a_container_without_a_pod_has_none():
    request = decode("add", body(args={}))
    assert isinstance(request, Add)
    assert request.holder == Holder(SANDBOX, "/run/netns/a")


def test_a_newer_binary_may_say_more():
    assert decode("status", body(config=CONFIG, traceparent="00-1")) == Status()


@pytest.mark.parametrize(
    "config", [CONFIG, {"name": "azure-cni"}, CONFIG | {"cniVersion": 9}, CONFIG | {"sokcet": "/x"}]
)
def test_del_needs_nothing_but_the_sandbox(config):
    assert decode("del", body(config, netns="", args={}, path="")) == Delete(SANDBOX)


@pytest.mark.parametrize(
    "raw",
    [
        body(args={"K8S_POD_NAME": 1}, netns=7, path=None),
        body(args="K8S_POD_NAME"),
        body(CONFIG | {"prevResult": "none", "cni.dev/valid-attachments": 1}),
        b'{"containerID": "c1", "ifname": "eth0", "config": {"prevResult": "\xff", "name": "azure-cni"}}',
        b'{"containerID": "c1", "config": {"name": "azure-cni", "x": '
        + b"[" * 900
        + b"]" * 900
        + b'}, "ifname": "eth0"}',
    ],
)
def test_nothing_else_in_a_del_can_be_wrong(raw):
    assert decode("del", raw) == Delete(SANDBOX)


@pytest.mark.parametrize(
    "raw",
    [
        body(config="prose"),
        body(config=None),
        body(config={}),
        body(config=[CONFIG]),
        body(CONFIG | {"name": ""}),
        body(CONFIG | {"name": 7}),
        body(CONFIG | {"name": "../etc"}),
        b'{"containerID": "c1", "ifname": "eth0"}',
        b'{"containerID": "c1", "ifname": "eth0", "config": {"name": "caf\xe9"}}',
        b'{"containerID": "c1", "ifname": "eth0", "config": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_a_del_that_names_no_network_is_one_of_an_unknown_network(raw):
    assert decode("del", raw) == Delete(SANDBOX._replace(network=""))


@pytest.mark.parametrize("name", ["", "../etc", "a b", "-a", "café"])
def test_what_is_no_name_of_a_network_is_refused(name):
    with pytest.raises(ConfigInvalid, match=f'cannot use the network configuration: its name "{name}" must be letters'):
        decode("add", body(CONFIG | {"name": name}))


def test_one_container_has_a_sandbox_in_each_of_its_networks():
    storage = CONFIG | {"name": "storage"}
    for verb, more in (("add", {}), ("check", {"prevResult": PREVIOUS})):
        request = decode(verb, body(storage | more))
        assert isinstance(request, Add | Check)
        assert request.holder.sandbox == Sandbox("storage", "c1", "eth0")
    assert decode("del", body(storage)) == Delete(Sandbox("storage", "c1", "eth0"))
    request = decode("gc", body(storage | {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}]}))
    assert request == Collect("storage", frozenset({Sandbox("storage", "c1", "net1")}))


def test_check_knows_what_add_said():
    request = decode("check", body(CONFIG | {"prevResult": PREVIOUS}))
    assert request == Check(Holder(SANDBOX, "/run/netns/a", "shop", "web-0", "u-1"), (IPv4Address("10.240.0.9"),))


def test_check_without_a_previous_result_is_refused():
    with pytest.raises(ConfigInvalid, match="without prevResult"):
        decode("check", body())


def test_gc_lists_what_stays():
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1", "more": 1}]
    request = decode("gc", body(CONFIG | {"cni.dev/valid-attachments": listed}))
    assert request == Collect("azure-cni", frozenset({SANDBOX, Sandbox("azure-cni", "c2", "net1")}))


def test_gc_of_an_older_libcni_names_its_list_otherwise():
    listed = [{"containerID": "c1", "ifname": "eth0"}]
    assert decode("gc", body(CONFIG | {"cni.dev/attachments": listed})) == Collect("azure-cni", frozenset({SANDBOX}))
    both = CONFIG | {"cni.dev/attachments": [], "cni.dev/valid-attachments": listed}
    assert decode("gc", body(both)) == Collect("azure-cni", frozenset({SANDBOX}))


@pytest.mark.parametrize("nothing", [None, []])
def test_gc_of_everything_must_be_said(nothing):
    assert decode("gc", body(CONFIG | {"cni.dev/valid-attachments": nothing})) == Collect("azure-cni", frozenset())
    with pytest.raises(ConfigInvalid, match=r"cannot collect garbage without cni\.dev/valid-attachments"):
        decode("gc", body())


@pytest.mark.parametrize("verb", ["add", "del", "check"])
@pytest.mark.parametrize(
    "fields",
    [
        {"containerID": ""},
        {"containerID": "-c"},
        {"containerID": "c/../d"},
        {"containerID": "c\n"},
        {"ifname": ""},
        {"ifname": "a-name-too-long!"},
        {"ifname": "eth/0"},
        {"ifname": "eth:0"},
        {"ifname": "eth 0"},
        {"ifname": "eth\u00a00"},
        {"ifname": ".."},
    ],
)
def test_a_malformed_sandbox_is_refused_by_name(verb, fields):
    config = CONFIG | {"prevResult": PREVIOUS}
    with pytest.raises(EnvironmentInvalid, match=r"cannot use CNI_(CONTAINERID|IFNAME) "):
        decode(verb, body(config, **fields))


BOUNDS = {"containerID": 255, "netns": 4095}
NAME_BOUNDS = {"K8S_POD_NAMESPACE": 253, "K8S_POD_NAME": 253, "K8S_POD_UID": 253}


def of_length(field: str, length: int) -> bytes:
    config = CONFIG | {"prevResult": PREVIOUS}
    if field in NAME_BOUNDS:
        return body(config, args=ARGS | {field: "x" * length})
    if field == "name":
        return body(config | {"name": "x" * length})
    return body(config, **{field: ("/" if field == "netns" else "x").ljust(length, "x")})


@pytest.mark.parametrize("verb", ["add", "check"])
@pytest.mark.parametrize(("field", "most"), [*BOUNDS.items(), *NAME_BOUNDS.items(), ("name", 255)])
def test_what_the_audit_trail_and_the_log_name_has_an_end(verb, field, most):
    request = decode(verb, of_length(field, most))
    assert isinstance(request, Add | Check)
    line = msgspec.json.encode(record_of(Handover(IPv4Address("10.240.0.9"), request.holder, True), time="", node=""))
    assert len(line) < LONGEST_LINE
    for length in (most + 1, 70_000, 3_900_000):
        with pytest.raises(errors.RequestError) as caught:
            decode(verb, of_length(field, length))
        assert len(str(caught.value)) < 500


def test_the_longest_line_of_the_audit_trail_can_be_read():
    name = "\U0001f600" * 253
    args = dict.fromkeys(NAME_BOUNDS, name)
    request = decode("add", body(CONFIG | {"name": "x" * 255}, containerID="x" * 255, args=args))
    assert isinstance(request, Add)
    line = msgspec.json.encode(record_of(Handover(IPv4Address("10.240.0.9"), request.holder, True), time="", node=""))
    assert len(line) < LONGEST_LINE // 8


@pytest.mark.parametrize("container", ["c" * 64, "cnitool-77383ca0a0715733ca6f", "k8s.io-" + "c" * 64])
def test_the_container_ids_of_runtimes_are_taken(container):
    assert decode("del", body(containerID=container)) == Delete(SANDBOX._replace(container_id=container))


ODD = "x\n2026-11-29T03:00:00Z INFO address assigned pod=shop/forged\x1b[2J\u202e"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("long", ["", "y" * 60_000])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: {"containerID": text},
        lambda text: {"ifname": text},
        lambda text: {"netns": "/" + text},
        lambda text: {"netns": text},
        lambda text: {"args": {"K8S_POD_NAME": text}},
        lambda text: {"args": {"K8S_POD_NAMESPACE": text}},
        lambda text: {"args": {"K8S_POD_UID": text}},
        lambda text: {"config": CONFIG | {"name": text}},
        lambda text: {"config": CONFIG | {"type": text}},
        lambda text: {"config": CONFIG | {"socket": text}},
        lambda text: {"config": CONFIG | {"cniVersion": text}},
        lambda text: {"config": CONFIG | {"cniVersion": [text]}},
        lambda text: {"config": CONFIG | {text: 1}},
        lambda text: {"config": CONFIG | {"dns": {text: 1, "nameservers": text}}},
        lambda text: {"config": CONFIG | {"capabilities": {text: text}}},
        lambda text: {"config": CONFIG | {"cni.dev/valid-attachments": [{text: 1}]}},
        lambda text: {"config": CONFIG | {"prevResult": {"ips": [{"address": text}]}}},
        lambda text: {"config": CONFIG | {"prevResult": {"interfaces": [{"name": text}], "ips": text}}},
    ],
)
def test_an_error_repeats_little_of_what_came_on_one_line(verb, long, change):
    raw = {"config": CONFIG | {"prevResult": PREVIOUS}} | change(ODD + long)
    said = ""
    try:
        decode(verb, body(**raw))
    except errors.AzureCniError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 600


@pytest.mark.parametrize("verb", ["add", "check"])
@pytest.mark.parametrize("netns", ["", "netns/a", "/run/\0"])
def test_a_missing_network_namespace_is_refused(verb, netns):
    with pytest.raises(EnvironmentInvalid, match=r"cannot use CNI_NETNS .* for container c1"):
        decode(verb, body(CONFIG | {"prevResult": PREVIOUS}, netns=netns))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "del"])
@pytest.mark.parametrize(
    ("config", "error"), [(CONFIG | {"sokcet": "/x"}, ConfigInvalid), ({"name": "azure-cni"}, VersionUnsupported)]
)
def test_a_bad_configuration_is_refused(verb, config, error):
    with pytest.raises(error):
        decode(verb, body(config))


NOT_UTF8 = b'{"containerID": "c\xe9", "ifname": "eth0", "config": {"name": "caf\xe9"}}'
DEEP = b'{"config": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_001
"""Deeper than any Python reads: how deep that is depends on its version, and in 3.14 on the thread's stack."""


@pytest.mark.parametrize(
    ("verb", "raw"),
    [
        *((verb, raw) for verb in VERBS for raw in (b"", b"{", b"[]", b"\xff", NOT_UTF8, DEEP, body(containerID=7))),
        *(
            (verb, raw)
            for verb in VERBS
            for raw in (b"{}", b'{"config": 1}', body(args={"K8S_POD_NAME": 1}))
            if verb != "del"
        ),
    ],
)
def test_what_is_not_a_request_is_said_so(verb, raw):
    with pytest.raises(DecodeFailed, match=f"cannot read the {verb} request: .* it begins b"):
        decode(verb, raw)


def test_an_unknown_verb_is_said_so():
    with pytest.raises(DecodeFailed, match='cannot do "version": the verbs are add, del, check, gc, status'):
        decode("version", body())


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        (body(CONFIG | {"cniVersion": "0.4.0", "sokcet": 1}), "0.4.0"),
        (body({"cniVersion": "0.1.0"}), "1.1.0"),
        (b'{"config": {"cniVersion": ["0.4.0"]}}', "1.1.0"),
        (b"[1]", "1.1.0"),
        (b"{", "1.1.0"),
        (b"\xff", "1.1.0"),
        (NOT_UTF8, "1.1.0"),
        (DEEP, "1.1.0"),
    ],
)
def test_an_answer_is_in_a_version_that_is_understood(raw, version):
    assert version_of(raw) == version


MORE = {errors.NoAddress: {"cause": "NodeAtLimit"}, errors.VersionUnknown: {"supported": ("2024-05-01",)}}
"""What some errors need beside their message."""


def every_error():
    waiting = [errors.AzureCniError]
    while waiting:
        kind = waiting.pop()
        waiting += [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
        if kind is not errors.RequestError:  # a family, never raised itself
            yield kind("cannot do it: why", **MORE.get(kind, {}))


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_every_error_has_an_answer(error):
    status, answer = error_body(error, "0.4.0")
    assert status == {1: 400, 3: 400, 4: 400, 6: 400, 7: 400, 11: 503, 50: 503, 5: 500, 999: 500}[error.code]
    assert answer["cniVersion"] == "0.4.0"
    assert (answer["code"], answer["msg"]) == (error.code, "cannot do it: why")
    assert answer["details"] == ("NodeAtLimit" if isinstance(error, errors.NoAddress) else error.reason)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_a_request_of_a_hundred_thousand_brackets_is_reported_as_one_that_cannot_be_read(verb, bracket):
    deep = b'{"containerID":"c1","ifname":"eth0","config":' + bracket * 100_000
    assert version_of(deep) == "1.1.0"
    with pytest.raises(DecodeFailed, match=f"cannot read the {verb} request: ") as caught:
        decode(verb, deep)
    assert error_body(caught.value, "1.1.0")[1]["code"] == 6


GUID = "0f8c6f3e-1d2b-4c5a-9e7f-a1b2c3d4e5f6"


def test_a_windows_runtime_names_a_namespace_by_its_guid():
    for netns in (GUID, GUID.upper()):
        request = decode("add", body(netns=netns), system=WINDOWS)
        assert isinstance(request, Add)
        assert request.holder.netns == netns


@pytest.mark.parametrize("netns", ["", "/run/netns/a", "none", f"{{{GUID}}}", GUID + "0", GUID[:-1] + "g"])
def test_what_is_no_guid_is_refused_there(netns):
    with pytest.raises(EnvironmentInvalid, match=r"CNI_NETNS .*: it must be the GUID of a network namespace"):
        decode("add", body(netns=netns), system=WINDOWS)


def test_name_servers_are_read_where_the_plugin_sets_them():
    config = CONFIG | {"runtimeConfig": {"dns": {"servers": ["10.0.0.10"], "searches": ["cluster.local"]}}}
    there = decode("add", body(config, netns=GUID), system=WINDOWS)
    assert isinstance(there, Add)
    assert there.asked.resolver == Resolver(("10.0.0.10",), ("cluster.local",))
    with pytest.raises(ConfigInvalid, match=r"runtimeConfig\.dns"):
        decode("add", body(CONFIG | {"runtimeConfig": {"dns": "prose"}}, netns=GUID), system=WINDOWS)
    for dns in (config["runtimeConfig"]["dns"], "prose"):
        here = decode("add", body(CONFIG | {"runtimeConfig": {"dns": dns}}))
        assert isinstance(here, Add)
        assert here.asked == NO_OPTIONS


def test_a_guid_is_refused_on_linux():
    with pytest.raises(EnvironmentInvalid, match="it must be the path of a network namespace"):
        decode("check", body(CONFIG | {"prevResult": PREVIOUS}, netns=GUID))
