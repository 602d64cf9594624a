"""How the command line talks: progress and errors on stderr, results on stdout, and the exit status of every ending.

0    done
1    a defect of the program: one line; TAPELINE_DEBUG=1 shows where
2    input that cannot be used: one message that says what to mend, nothing written
130  interrupted
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 160
OURS = ("engine.", "features.", "pipeline.")


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose every failure is one message and an exit status, never a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _leave("interrupted", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, a user gets a message
            _refuse(error)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Polars, which is no Exception
                raise
            _refuse(error)

    return run


def _refuse(error: BaseException) -> NoReturn:
    if os.environ.get("TAPELINE_DEBUG"):
        raise error
    if isinstance(error, ValueError) and type(error).__module__.startswith(OURS):
        _leave(str(error), 2)
    if isinstance(error, OSError):
        _leave(f"{error.filename2 or error.filename or 'file system'}: {error.strerror or error}", 2)
    if isinstance(error, MemoryError):
        _leave("not enough memory; use fewer symbols or a shorter period", 2)
    _leave(f"a defect, {type(error).__name__}: {error}; TAPELINE_DEBUG=1 shows where", 1)


def _leave(message: str, status: int) -> NoReturn:
    from rich.text import Text

    stderr().print(Text.assemble(("tapeline: ", "bold red"), message), soft_wrap=True)
    raise typer.Exit(status)


def stdout() -> "Console":
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPED_WIDTH)


def stderr() -> "Console":
    """Where progress and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """One JSON object on stdout."""
    import json

    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Show on a terminal what is being done, how much of it, and for how long; elsewhere say what takes long, unless ``quiet``."""
    console = stderr()
    if quiet or not console.is_terminal:
        yield silent if quiet else _say_what_takes_long(console)
        return
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda stage, done=0, total=0: bar.update(task, description=stage, completed=done, total=total or None)


def _say_what_takes_long(console: "Console") -> Progress:
    def tell(stage: str, _done: int = 0, _total: int = 0, /) -> None:
        if stage.startswith("compiling"):
            console.print(f"{stage} ...")

    return tell
