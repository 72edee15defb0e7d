"""Where the sources are."""

import operator

from azurebox.facts import REPOSITORY


def test_the_source_root_does_not_shadow_the_standard_librarys_operator():
    """With an __init__.py in operator/, `import operator` at the repository's root would find ours."""
    assert (REPOSITORY / "operator" / "azure_cni" / "__init__.py").exists()
    assert not (REPOSITORY / "operator" / "__init__.py").exists()
    assert operator.itemgetter(0)("a") == "a"
