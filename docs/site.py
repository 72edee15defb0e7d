"""What `make docs` needs beside mkdocs.yml: MkDocs takes pages from one folder, and these are all over the repository.

Every page keeps the path that it has in the repository, so a relative link leads to the same page on the site and where
the repository is browsed; only the site's own addresses leave out `docs/`. What a page links to and is no page (a role,
a dashboard) is copied. Each warning here ends a strict build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGES: Final = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "e2e/README.md",
    *sorted(str(page.relative_to(REPOSITORY)) for page in (REPOSITORY / "docs").rglob("*.md")),
)
"""Paths in the repository. The chart's README is left out: docs/values.md says the same and more."""

log: Final = logging.getLogger("mkdocs.hooks.site")
_LINK: Final = re.compile(r"\]\(([^)#\s]+)")
_LOADED: Final = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
_RAW_TABLE: Final = re.compile(r"<p>[^<]*\|\s*-{3,}")


def slug(heading: str, separator: str = "-") -> str:
    """The anchor of a heading's plain text, as git hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def address(path: str) -> str:
    """Where the site has what is at this path in the repository."""
    name = path.removeprefix("docs/")
    return name.replace("README.md", "index.html").replace(".md", ".html").lower() if path in PAGES else name


def linked_files() -> list[str]:
    """Paths in the repository of files that pages link to and that are no pages themselves."""
    found = {
        os.path.normpath(Path(page).parent / target)
        for page in PAGES
        for target in _LINK.findall((REPOSITORY / page).read_text())
        if "://" not in target
    }
    return sorted(path for path in found - set(PAGES) if not path.startswith("..") and (REPOSITORY / path).is_file())


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors like those of git hosts, so that one link serves both."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The repository's pages, and what they link to, in place of the files of one folder."""
    from mkdocs.structure.files import File  # not at the top: tests read this module without MkDocs

    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for path in (*PAGES, *linked_files(), "docs/icon.svg", "docs/site.css"):
        if path not in files.src_uris:
            files.append(File(path, str(REPOSITORY), config.site_dir, use_directory_urls=False, dest_uri=address(path)))
    return files


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Warn of what a reader without the internet would miss, and of a table that was taken for text."""
    for found in _LOADED.findall(output):
        log.warning("%s loads %s, which a closed network does not reach", page.file.src_uri, found)
    if _RAW_TABLE.search(output):
        log.warning("%s has a table that is shown as text: put an empty line before it", page.file.src_uri)
    return output
