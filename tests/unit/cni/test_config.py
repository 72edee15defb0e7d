import msgspec
import pytest

from azure_cni.cni.config import DEFAULT_SOCKET, SUPPORTED, Dns, directory_elsewhere, parse
from azure_cni.cni.conflist import PORTMAP, AgentPlace, conflist
from azure_cni.cni.systems import LINUX, WINDOWS
from azure_cni.errors import ConfigInvalid, VersionUnsupported

BARE = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni"}


def test_a_bare_configuration_has_the_default_socket():
    conf = parse(BARE)
    assert (conf.version, conf.socket, conf.dns, conf.prev_result) == ("1.0.0", DEFAULT_SOCKET, None, None)
    assert conf.valid_attachments is msgspec.UNSET


def test_the_specifications_keys_and_the_runtimes_own_are_known():
    conf = parse(
        BARE
        | {
            "args": {"cni": {"labels": []}},
            "capabilities": {"portMappings": True},
            "runtimeConfig": {"portMappings": []},
            "dns": {"nameservers": ["10.0.0.10"], "search": ["svc.local"]},
            "prevResult": {"cniVersion": "1.0.0"},
            "ipam": {},
            "cni.dev/valid-attachments": None,
            "cni.dev/whatever-comes": 1,
        }
    )
    assert conf.dns == Dns(nameservers=("10.0.0.10",), search=("svc.local",))
    assert conf.valid_attachments is None


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_version_that_we_speak(version):
    assert parse(BARE | {"cniVersion": version}).version == version


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "it has no cniVersion; this build speaks 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ("0.2.0", "its cniVersion is '0.2.0'; this build speaks"),
        ("2.0.0", "its cniVersion is '2.0.0'"),
        (1.0, "its cniVersion is 1.0"),
    ],
)
def test_other_versions_are_refused(version, words):
    with pytest.raises(VersionUnsupported, match=words):
        parse(BARE | {"cniVersion": version})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sokcet": "/x"}, r'unknown key "sokcet": did you mean "socket"\? known keys are cniVersion, name, type'),
        ({"colour": "blue"}, 'unknown key "colour": remove it; known keys are'),
        ({"Name": "x"}, 'unknown key "Name": did you mean "name"'),
        ({"name": ""}, 'its name "" must be letters'),
        ({"type": "bridge"}, 'its type is "bridge", and this is azure-cni'),
        ({"socket": 5}, r"Expected `str`, got `int` - at `\$.socket`"),
        ({"socket": "run/cni.sock"}, 'socket "run/cni.sock" is not an absolute path'),
        ({"socket": "/" + "x" * 107}, "of at most 107 bytes"),
        ({"dns": {"nameservers": "10.0.0.10"}}, r"Expected `array`, got `str` - at `\$.dns.nameservers`"),
        ({"capabilities": {"mac": "yes"}}, "Expected `bool`"),
        ({"ipam": {"type": "host-local"}}, "assigns the addresses of the node's pool itself; remove the key ipam"),
        ({"cni.dev/valid-attachments": [{"ifname": "eth0"}]}, "missing required field `containerID`"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(ConfigInvalid, match=words):
        parse(BARE | change)


def test_a_missing_name_is_named():
    with pytest.raises(ConfigInvalid, match="missing required field `name`"):
        parse({"cniVersion": "1.0.0", "type": "azure-cni"})


@pytest.mark.parametrize("portmap", [True, False])
def test_the_conflist_is_one_that_we_accept(portmap):
    document = msgspec.json.decode(conflist(place=AgentPlace(socket="/run/x/cni.sock"), chained=[PORTMAP] * portmap))
    ours, *others = document["plugins"]
    # What a runtime makes of it for one plugin.
    assert parse(ours | {"cniVersion": document["cniVersion"], "name": document["name"]}).socket == "/run/x/cni.sock"
    assert [plugin["type"] for plugin in others] == ["portmap"] * portmap
    assert all(plugin["capabilities"] == {"portMappings": True} for plugin in others)


def test_the_conflist_is_readable_and_of_a_version_that_old_runtimes_speak():
    text = conflist()
    assert text.splitlines()[:3] == ["{", '  "cniVersion": "1.0.0",', '  "name": "azure-cni",']
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": "0.1.0"}, VersionUnsupported),
        ({"place": AgentPlace(socket="cni.sock")}, ConfigInvalid),
        ({"place": AgentPlace(WINDOWS, run_dir="/run/azure-cni")}, ConfigInvalid),
    ],
)
def test_a_conflist_that_we_would_refuse_is_not_written(change, error):
    with pytest.raises(error):
        conflist(**change)


PIPE = r"\\.\pipe\ProtectedPrefix\Administrators\azure-cni"


def test_on_windows_the_socket_is_a_pipe_and_the_records_have_a_directory():
    assert parse(BARE, system=WINDOWS).socket == PIPE
    conf = parse(BARE | {"socket": r"\\.\pipe\other", "runDir": r"C:\k\azure-cni"}, system=WINDOWS)
    assert (conf.socket, conf.run_dir) == (r"\\.\pipe\other", r"C:\k\azure-cni")


def test_on_linux_records_may_have_a_directory_too():
    assert parse(BARE).run_dir == ""
    assert parse(BARE | {"runDir": "/run/elsewhere"}).run_dir == "/run/elsewhere"


@pytest.mark.parametrize(
    ("named", "elsewhere"),
    [
        ("/run/azure-cni", False),
        ("/var/run/azure-cni/", False),
        ("/run/x/../azure-cni", False),
        ("/run/azure-cni2", True),
        ("/var/run", True),
    ],
)
def test_another_directory_than_the_agents_is_said_in_words(named: str, *, elsewhere: bool):
    said = directory_elsewhere(parse(BARE | {"runDir": named}), "/run/azure-cni")
    assert said.startswith(f'runDir of network azure-cni is "{named}", and the agent') is elsewhere
    assert bool(said) is elsewhere


def test_without_a_directory_the_sockets_counts():
    assert directory_elsewhere(parse(BARE), "/run/azure-cni") == ""


@pytest.mark.parametrize(
    ("system", "change", "words"),
    [
        (WINDOWS, {"socket": "/run/azure-cni/cni.sock"}, r'socket "/run/azure-cni/cni.sock" is not the name of a pipe'),
        (WINDOWS, {"socket": PIPE + r"\more"}, "is not the name of a pipe"),
        (WINDOWS, {"socket": "\\\\.\\pipe\\" + "x" * 248}, "is not the name of a pipe"),
        (WINDOWS, {"socket": ""}, "is not the name of a pipe"),
        (WINDOWS, {"runDir": "/run/azure-cni"}, 'runDir "/run/azure-cni" is not an absolute path of at most 247'),
        (WINDOWS, {"runDir": "k"}, 'runDir "k" is not an absolute path'),
        (LINUX, {"socket": PIPE}, "is not an absolute path of at most 107 bytes"),
        (LINUX, {"runDir": "C:\\k"}, "is not an absolute path"),
    ],
)
def test_names_of_another_system_are_refused(system, change, words):
    with pytest.raises(ConfigInvalid, match=words):
        parse(BARE | change, system=system)
