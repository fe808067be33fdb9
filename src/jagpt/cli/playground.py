"""The verb that serves a page to try a model."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from jagpt.cli.common import Location, app, warn_of_stale


@app.command()
@click.argument("model_dir", type=Location())
@click.option("--compare", type=Location(), metavar="DIR",
              help="A second model, side by side.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; 0.0.0.0 lets other machines connect.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535),
              help="Port; by default the first free one from 7860.")  # fmt: skip
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="Another host name that visitors use; repeatable.")  # fmt: skip
@click.option("--max-new-tokens", type=int, default=512, show_default=True,
              help="Most new tokens per request.")  # fmt: skip
@click.option("--max-samples", type=int, default=4, show_default=True,
              help="Most samples per request.")  # fmt: skip
@click.option("--max-seconds", type=float, default=60, show_default=True,
              help="Seconds after which a request is stopped.")  # fmt: skip
@click.option("--queue", type=int, default=16, show_default=True,
              help="Visitors that may wait; further ones are asked to come back "
                   "later.")  # fmt: skip
def playground(
    model_dir: Path,
    compare: Path | None,
    host: str,
    port: int | None,
    names: tuple[str, ...],
    **limits: float,
) -> None:
    """A web page on which to try a model.

    MODEL_DIR is a model folder, a run directory, a checkpoint or a hub id (ORG/NAME@REVISION).
    Needs the extra jagpt[playground]; the page works offline.
    """
    from jagpt.playground import Limits, server

    bounds = Limits(**limits)  # type: ignore[arg-type]
    server.check_extra()
    places = [model_dir, *([compare] if compare else [])]
    for place in places:
        warn_of_stale(place)
    models = server.load_models(places)
    server.serve(models, host=host, port=port, names=names, limits=bounds, say=click.echo)
    gc.freeze()  # else Python walks through all of PyTorch for seconds before the process ends
