# The image of the agent; it also carries the CNI binary, which the agent installs on its node.
#
# Builds alike with docker and buildah, and needs nothing but this directory, the two base images and the package
# registries. Where those are reached by other ways, say so by build arguments: the usual variables of pip and Go
# (below), http_proxy and https_proxy. They are seen by the steps that fetch packages only; none is kept in the image.
# Certificate authorities of a proxy: mount a bundle, and name its path in PIP_CERT and SSL_CERT_FILE.
ARG GO_IMAGE=docker.io/library/golang:1.26-trixie
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim
ARG VERSION=0.1.0

# ---- the CNI binary: one static file, about 3 MB
FROM ${GO_IMAGE} AS cni
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

# ---- Python and what the agent calls. A base that has all of it is used as it is, without any package mirror; one that
# came without the bytecode of Python's own library gets it.
FROM ${BASE_IMAGE} AS base
RUN set -eu; \
    missing=""; \
    command -v python3 >/dev/null || missing="$missing python3"; \
    command -v nft >/dev/null || missing="$missing nftables"; \
    command -v update-ca-certificates >/dev/null || missing="$missing ca-certificates"; \
    if [ -n "$missing" ]; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; \
        rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*.log /var/log/apt; \
    fi; \
    python3 -m compileall -q -j 0 /usr/lib/python3.*

# ---- the agent's own environment, without pip, tests and sources of C
FROM base AS venv
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
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; \
    }; \
    python3 -m venv /opt/build; \
    python3 -m venv --without-pip /opt/azure-cni
COPY requirements/build.txt requirements/agent.txt requirements/
RUN set -eu; \
    pip() { /opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"; }; \
    pip install --require-hashes --only-binary :all: -r requirements/build.txt; \
    pip --python /opt/azure-cni/bin/python install --no-compile --require-hashes --only-binary :all: \
        -r requirements/agent.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator/azure_cni/ operator/azure_cni/
# Compiled once, here: without bytecode the agent needs seconds longer to start and three times the memory. Unchecked,
# because the files never change in an image, and whatever rewrites their times must not throw the bytecode away.
RUN set -eu; \
    pip() { /opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"; }; \
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .; \
    pip --python /opt/azure-cni/bin/python install --no-compile --no-deps --no-index /tmp/wheel/*.whl; \
    cd /opt/azure-cni; \
    if bin/python -c 'import kubernetes' 2>/dev/null; then \
        echo 'cannot build: the kubernetes package is installed, and kopf would load it on every node' >&2; exit 1; \
    fi; \
    find . -depth \( -type d \( -name tests -o -name __pycache__ \) -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' \) \
        -exec rm -rf {} +; \
    bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash lib

# ---- the image
FROM base
ARG VERSION
LABEL org.opencontainers.image.title="azure-cni" \
      org.opencontainers.image.description="Virtual network addresses of Azure for every Kubernetes pod" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=cni /azure-cni /usr/libexec/azure-cni/azure-cni
COPY --from=venv /opt/azure-cni /opt/azure-cni
ENV PATH=/opt/azure-cni/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN set -eu; \
    for source in $(find /opt/azure-cni/lib /usr/lib/python3.* -name '*.py'); do \
        name=${source##*/}; \
        set -- "${source%/*}/__pycache__/${name%.py}".cpython-*.pyc; \
        [ -s "$1" ] || { echo "cannot build: $source has no bytecode" >&2; exit 1; }; \
    done; \
    echo "azure-cni ${VERSION}: $(du -xsm / | cut -f1) MiB unpacked," \
        "of them $(du -sm /opt/azure-cni | cut -f1) the agent and its packages"
# Root, because it enters network namespaces; the chart takes away every capability but two.
ENTRYPOINT ["azure-cni"]
