"""Which code this is: workers tell it, and a journal writes it beside each record, so that a reader knows who decided.

Read when the process starts: what is installed later is not what runs.
"""

from importlib.metadata import PackageNotFoundError, version

from nodes.headers import VERSION

NOT_INSTALLED = "0"  # run from a checkout that was never installed


def code_version() -> str:
    """The version installed when this process began and the wire version that it speaks, as in `0.1.0+wire2`."""
    return _CODE


def _installed() -> str:
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return NOT_INSTALLED


_CODE = f"{_installed()}+wire{VERSION}"
