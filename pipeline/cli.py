"""Entry point of the command line: ``tapeline VERB``; the verbs are in ``verbs``."""

import sys


def main() -> None:
    """Run a verb; an interrupt ends it quietly wherever it comes, while modules are still being imported too."""
    try:
        from pipeline.verbs import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("tapeline: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
