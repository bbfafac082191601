"""`sklar serve`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import OnEmpty, OnUndated, Undated
from sklar.cli.output import note, show_json
from sklar.errors import UserError

EXTRA = ("fastapi", "uvicorn")


def serve(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen; 0 is any that is free.")
    ] = 8000,
    host: Annotated[str, typer.Option(help="Other machines reach the server only at another.")] = "127.0.0.1",
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of the missing latents.")] = None,
    on_empty: Annotated[
        OnEmpty, typer.Option(help="A row with nothing observed: error (422), prior or null.")
    ] = OnEmpty.error,
    on_undated: OnUndated = Undated.error,
    max_rows: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1000,
    max_bytes: Annotated[int, typer.Option(min=1, help="Of the body of a request.")] = 16 * 2**20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object when it listens: url, model, label.")
    ] = False,
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
        on_undated=on_undated.value,
        rows=max_rows,
        bytes=max_bytes,
        hosts=serving.Settings.hosts if near else ("*",),
    )
    opened = Run.open(run)

    def listening(own: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{own}"
        if as_json:
            show_json({"url": url, "model": opened.config.model.name, "label": opened.data["label"]})
        else:
            note(f"{url} (stop with Ctrl-C)")

    made = serving.server(opened, host, port, settings, listening)
    if not near:
        note(f"warning: whoever reaches this machine can ask the model; nothing here asks who it is ({host})")
    made.run()
