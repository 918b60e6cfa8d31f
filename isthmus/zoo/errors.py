"""What the zoo cannot do. Its errors are NodesErrors, so that whoever shows errors in one line knows them."""

from nodes.errors import NodesError


class ZooError(NodesError):
    """Root of the zoo's errors."""


class UnknownModel(ZooError):
    """A name that the zoo does not build; names those it does."""


class WeightsMissing(ZooError):
    """A package that carries weights or pictures is not installed; gives the pip command."""
