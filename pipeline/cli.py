"""Entry point of the command line: ``tapeline VERB``; the verbs are in ``verbs``."""

import atexit
import gc
import sys


def main() -> None:
    """Run a verb; an interrupt ends it quietly wherever it comes, while modules are still being imported too."""
    atexit.register(gc.freeze)  # else the interpreter looks through all of the compiler's objects once more, for a quarter of a second
    try:
        from pipeline.verbs import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("tapeline: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
