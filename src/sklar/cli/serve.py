"""`sklar serve`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.output import note
from sklar.cli.predict import OnEmpty
from sklar.errors import UserError

EXTRA = ("fastapi", "uvicorn")


def serve(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 8000,
    host: Annotated[str, typer.Option(help="Other machines reach the server only at another.")] = "127.0.0.1",
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of the missing latents.")] = None,
    on_empty: Annotated[
        OnEmpty, typer.Option(help="A row with nothing observed: refuse (422), prior or null.")
    ] = OnEmpty.refuse,
    accept_undated: Annotated[
        bool, typer.Option("--accept-undated", help="Take pictures and texts that have no time.")
    ] = False,
    max_rows: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1000,
    max_bytes: Annotated[int, typer.Option(min=1, help="Of the body of a request.")] = 16 * 2**20,
) -> None:
    """Answer predictions over HTTP on this machine: POST /predict, a page to try one patient at /."""
    if lost := [name for name in EXTRA if find_spec(name) is None]:
        raise UserError(f'serving needs {lost[0]}, which is not installed: pip install "sklar[serve]"')
    from sklar import serving
    from sklar.runs import Run

    near = host in ("localhost", serving.LOOPBACK, "::1")
    settings = serving.Settings(
        draws=draws,
        on_empty=on_empty.value,
        on_undated="accept" if accept_undated else "error",
        rows=max_rows,
        bytes=max_bytes,
        hosts=serving.Settings.hosts if near else ("*",),
    )
    made = serving.server(Run.open(run), host, port, settings)
    if not near:
        note(f"warning: whoever reaches this machine can ask the model; nothing here asks who it is ({host})")
    note(f"http://{host}:{port} (stop with Ctrl-C)")
    made.run()
