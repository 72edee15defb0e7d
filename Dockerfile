# The image of the agent; it also carries the CNI binary, which the agent installs on its node.
#
# Builds alike with docker and buildah, and needs nothing but this directory, the two base images and the package
# registries. Where those are reached by other ways, say so by build arguments: the usual variables of pip and Go
# (below), http_proxy and https_proxy. They are seen by the steps that fetch packages only; none is kept in the image.
# Certificate authorities of a proxy: mount a bundle, and name its path in PIP_CERT and SSL_CERT_FILE.
#
# For amd64 and arm64. The stages that fetch, compile and strip run on the builder's processor. The stages `base` and
# `root` run on the image's, or under an emulator that is registered in the kernel: they install Debian's packages, trim
# the root directory and check that all of it works. BUILD_IMAGE is the same Debian as BASE_IMAGE, for builders where one
# name does not stand for both processors. Every stage that begins with an outside image names its platform: buildah 1.28
# would otherwise give it that of the stage before. QEMU_CPU=cortex-a72 makes an emulated build several times faster:
# QEMU's default processor signs and checks each return address.
ARG GO_IMAGE=docker.io/library/golang:1.26-trixie
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim
ARG BUILD_IMAGE=${BASE_IMAGE}
ARG VERSION=0.1.0

# ---- the CNI binary: one static file, about 3 MB
FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS cni
ARG VERSION
ARG TARGETOS
ARG TARGETARCH
ARG GOPROXY
ARG GONOPROXY
ARG GOPRIVATE
ARG GOSUMDB
ARG GONOSUMDB
ARG GOINSECURE
ARG GOFLAGS
ARG SSL_CERT_FILE
WORKDIR /src
COPY operator/cni-plugin/go.mod operator/cni-plugin/go.sum ./
RUN go mod download
COPY operator/cni-plugin/ ./
RUN CGO_ENABLED=0 GOOS="${TARGETOS}" GOARCH="${TARGETARCH}" \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /azure-cni .

# ---- Python and what the agent calls. A base that has all of it is used as it is, without any package mirror. Bytecode
# is compiled here once: without it the agent needs seconds longer to start and three times the memory. It is unchecked,
# because the files never change in an image, and whatever rewrites their times must not make it useless.
FROM --platform=${TARGETPLATFORM} ${BASE_IMAGE} AS base
ARG QEMU_CPU
RUN set -eu; \
    missing=""; \
    command -v python3 >/dev/null || missing="$missing python3"; \
    command -v nft >/dev/null || missing="$missing nftables"; \
    command -v update-ca-certificates >/dev/null || missing="$missing ca-certificates"; \
    if [ -n "$missing" ]; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; \
    fi; \
    python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /usr/lib/python3.*

# ---- the packages of the agent's own environment, without pip. Bytecode and scripts are alike on all processors, and
# wheels with extensions are taken for the image's: CPython has this variable for its own cross builds.
FROM --platform=${BUILDPLATFORM} ${BUILD_IMAGE} AS packages
ARG TARGETARCH
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ARG SSL_CERT_FILE
WORKDIR /src
RUN set -eu; \
    python3 -c 'import ensurepip' 2>/dev/null || { \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3-venv; \
    }; \
    python3 -m venv /opt/build; \
    python3 -m venv --without-pip /opt/azure-cni
COPY requirements/build.txt requirements/agent.txt requirements/
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) machine=x86_64 ;; \
        arm64) machine=aarch64 ;; \
        *) echo "cannot build for the processor '$TARGETARCH': amd64 and arm64 are known" >&2; exit 1 ;; \
    esac; \
    pip() { /opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"; }; \
    pip install --require-hashes --only-binary :all: -r requirements/build.txt; \
    export _PYTHON_HOST_PLATFORM="linux-$machine"; \
    pip --python /opt/azure-cni/bin/python install --no-compile --require-hashes --only-binary :all: \
        -r requirements/agent.txt; \
    if /opt/azure-cni/bin/python -c 'import kubernetes' 2>/dev/null; then \
        echo 'cannot build: the kubernetes package is installed, and kopf would load it on every node' >&2; exit 1; \
    fi

# ---- their extensions without the symbols that only a debugger reads: 12 MiB less
FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS stripped
ARG TARGETARCH
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) strip=x86_64-linux-gnu-strip package=binutils-x86-64-linux-gnu ;; \
        arm64) strip=aarch64-linux-gnu-strip package=binutils-aarch64-linux-gnu ;; \
    esac; \
    command -v "$strip" >/dev/null || { \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"; \
    }; \
    ln -s "$(command -v "$strip")" /usr/local/bin/strip-for-image
COPY --from=packages /opt/azure-cni/lib /opt/azure-cni/lib
RUN find /opt/azure-cni/lib -name '*.so' -exec strip-for-image --strip-unneeded {} +

# ---- the environment with the agent in it
FROM packages AS venv
COPY --from=stripped /opt/azure-cni/lib /opt/azure-cni/lib
COPY pyproject.toml README.md LICENSE ./
COPY operator/azure_cni/ operator/azure_cni/
RUN set -eu; \
    pip() { /opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"; }; \
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .; \
    pip --python /opt/azure-cni/bin/python install --no-compile --no-deps --no-index /tmp/wheel/*.whl; \
    find /opt/azure-cni/lib -type d -name __pycache__ -prune -exec rm -rf {} +; \
    /opt/azure-cni/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/azure-cni/lib

# ---- the root directory of the image, without whatever its processes do not need
FROM base AS root
ARG QEMU_CPU
COPY --from=cni /azure-cni /usr/libexec/azure-cni/azure-cni
COPY --from=venv /opt/azure-cni /opt/azure-cni
COPY operator/image_root/ /tmp/image_root/
RUN ["python3", "-B", "/tmp/image_root/trim.py"]
# Without a shell, which is gone by now.
RUN ["/opt/azure-cni/bin/python", "-B", "/tmp/image_root/check.py", "--remove"]

# ---- the image: one layer, as a layer on top of another cannot make it smaller
FROM --platform=${TARGETPLATFORM} scratch
ARG VERSION
LABEL org.opencontainers.image.title="azure-cni" \
      org.opencontainers.image.description="Virtual network addresses of Azure for every Kubernetes pod" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=root / /
# MALLOC_: glibc keeps what large answers and files took, the more the larger the first one was, and for each thread apart.
# An agent had 10 % more memory after an hour of faults; with these, what is freed goes back. The threshold is above what
# the processes read from a socket at once (READ_B in entrypoints/running.py), for which it would cost system calls.
ENV PATH=/opt/azure-cni/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=262144
# Root, because it enters network namespaces; the chart takes away every capability but two.
ENTRYPOINT ["azure-cni"]
