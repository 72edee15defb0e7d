"""How this machine's package settings reach the build of an image, and that nothing else does."""

from pathlib import Path

import pytest

from azurebox import image
from azurebox.image import Image
from azurebox.image_settings import check_environment, package_settings
from azurebox.steps import StepError

DOCKERFILE = """\
ARG BASE_IMAGE=debian
FROM x AS venv
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ARG GOPROXY
"""


def test_a_machine_without_settings_hands_on_nothing():
    assert package_settings(DOCKERFILE, {"PATH": "/bin", "HOME": "/root"}) == []


def test_what_the_dockerfile_asks_for_is_handed_on_and_nothing_else():
    environment = {"PIP_INDEX_URL": "https://a.example/simple", "PIP_TARGET": "/elsewhere", "GOPROXY": "direct"}
    assert package_settings(DOCKERFILE, environment) == [
        "--build-arg=GOPROXY=direct",
        "--build-arg=PIP_INDEX_URL=https://a.example/simple",
    ]


def test_certificates_are_mounted_where_any_debian_has_them(tmp_path: Path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("x")
    assert package_settings(DOCKERFILE, {"REQUESTS_CA_BUNDLE": str(bundle)}) == [
        f"--volume={bundle}:/etc/ssl/certs/ca-certificates.crt:ro",
        "--build-arg=PIP_CERT=/etc/ssl/certs/ca-certificates.crt",
    ]


def test_directories_of_wheels_are_mounted_where_they_leave_no_trace(tmp_path: Path):
    settings = package_settings(DOCKERFILE, {"PIP_FIND_LINKS": f"{tmp_path} https://a.example/wheels"})
    assert settings == [f"--volume={tmp_path}:/mnt:ro", "--build-arg=PIP_FIND_LINKS=/mnt https://a.example/wheels"]


@pytest.mark.parametrize("entry", ["PIP_INDEX_URL=https://a.example", "SSL_CERT_FILE=/x", "GOPROXY=direct"])
def test_an_image_that_kept_a_setting_is_refused(entry: str):
    with pytest.raises(StepError, match=entry.split("=", maxsplit=1)[0]):
        check_environment([entry, "PATH=/bin"])


def test_an_image_that_kept_none_is_taken():
    check_environment(["PATH=/bin", "PIP_NO_CACHE_DIR=1", "PYTHONUNBUFFERED=1"])


def test_an_image_that_grew_too_large_is_refused(tmp_path: Path):
    image.check_size(Image(name="fits", archive=tmp_path, size=120 << 20))
    with pytest.raises(StepError, match="121 MiB unpacked, more than 120"):
        image.check_size(Image(name="grew", archive=tmp_path, size=121 << 20))
