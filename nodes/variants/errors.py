"""What a form cannot be made of. One line that names the tensor or the form, and the way out."""

from nodes.errors import NodesError


class VariantError(NodesError):
    """Root of this package's errors."""


class UnknownForm(VariantError):
    """A form that there isn't; names those there are."""


class NotPossible(VariantError):
    """A model that cannot take the form: nothing to quantise, values that don't fit, a quantiser's own refusal."""
