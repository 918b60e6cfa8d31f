"""The command `isthmus`: makes sure that our own packages are the ones imported, then hands over to the CLI."""

import os
import sys

from isthmus.guard import ForeignPackage, refuse_strangers


def main() -> None:
    """Runs the command line; exits 1 with one line on stderr where a stranger's package is in the way."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is said once, by us
    try:
        refuse_strangers()
        from isthmus.cli import main as command_line
    except ForeignPackage as refusal:
        sys.exit(str(refusal))
    except KeyboardInterrupt:
        sys.exit("isthmus: interrupted")

    command_line()


if __name__ == "__main__":
    main()
