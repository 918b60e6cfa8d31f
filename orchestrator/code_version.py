"""Which code this is: what a journal writes beside each record, so that its reader knows who decided."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from nodes.headers import VERSION

NOT_INSTALLED = "0"  # run from a checkout that was never installed


@cache
def code_version() -> str:
    """The installed version and the wire version that it speaks, as in `0.1.0+wire1`."""
    try:
        installed = version("isthmus")
    except PackageNotFoundError:
        installed = NOT_INSTALLED
    return f"{installed}+wire{VERSION}"
