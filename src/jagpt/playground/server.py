"""Serving the page until a signal: nothing is loaded from or sent anywhere else."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from jagpt.errors import MissingExtraError, Terminated, UsageError, storage_error
from jagpt.generation import TextGenerator, load
from jagpt.playground import gate, page
from jagpt.playground.boxes import SESSIONS
from jagpt.playground.desk import Desk
from jagpt.playground.gate import Asgi
from jagpt.playground.limits import Limits
from jagpt.playground.log import kept_short

LOCAL = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 100


def serve(
    models: Mapping[str, TextGenerator],
    *,
    host: str = LOCAL,
    port: int | None = None,
    names: Collection[str] = (),
    limits: Limits | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the playground of one model or two, by their names, until SIGTERM or Ctrl-C.

    By default the first free port from 7860 is used. `names` are other host names that visitors
    use, for instance through a proxy. Raises `MissingExtraError` without
    gradio, `UsageError` for a port that is taken.
    """
    check_extra()
    from jagpt.playground.ending import Server

    limits = limits or Limits()
    with _listening(host, port) as listening:
        desk = Desk(limits.queue)
        app = application(models, limits, desk)
        server = Server(gate.guarded(app, limits, gate.host_names(host, names)), desk)
        shown = f"[{host}]" if ":" in host else host
        say(f"the playground is at http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
        try:
            with kept_short():
                server.run(sockets=[listening])
        except (KeyboardInterrupt, Terminated):
            pass  # how a server ends; uvicorn has closed by then and only forwards the signal
        finally:
            desk.close()
    say("the playground has stopped")


def check_extra() -> None:
    """`MissingExtraError` if gradio is not installed, before a model is loaded for nothing."""
    if importlib.util.find_spec("gradio") is None:
        raise MissingExtraError("jagpt playground", "playground")


def load_models(places: Sequence[Path]) -> dict[str, TextGenerator]:
    """The models by displayed name: that of their run or folder."""
    found: dict[str, TextGenerator] = {}
    for place in places:
        folder = place.resolve()
        name = folder.parent.name if folder.name == "model" else folder.name
        if name in found:
            name = f"{name} ({len(found) + 1})"
        found[name] = load(place)
    return found


def application(models: Mapping[str, TextGenerator], limits: Limits, desk: Desk) -> Asgi:
    """The page as an ASGI application."""
    from fastapi import FastAPI

    from jagpt.playground.app import build  # before gradio: it switches the analytics off

    import gradio as gr  # isort: skip

    blocks = build(models, limits, desk)
    blocks.state_session_capacity = SESSIONS
    font = ("system-ui", "Hiragino Sans", "Noto Sans JP", "Noto Sans CJK JP", "sans-serif")
    app: Asgi = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="/",
        footer_links=[], run_history=False, max_file_size=1, ssr_mode=False, mcp_server=False,
        pwa=False, enable_monitoring=False, show_error=False, css=page.style_sheet(),
        theme=gr.themes.Base(primary_hue="sky", neutral_hue="slate", radius_size="lg", font=font,
                             font_mono=("ui-monospace", "Consolas", "monospace")),
    )  # fmt: skip
    return app


def _listening(host: str, port: int | None) -> socket.socket:
    """A listening socket; `UsageError` if the port is taken or the host is not ours."""
    if not host.strip() or gate.is_abbreviated(host):  # the system takes these for other addresses
        raise UsageError(
            f"--host {host!r}: give an address in full or a name of this machine; 0.0.0.0 lets "
            "other machines connect"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(
                128
            )  # early visitors wait until everything is loaded, instead of being refused
        except (OSError, OverflowError, TypeError, ValueError) as error:  # of names that are none
            listening.close()
            refused = error
            continue
        return listening
    no_name = isinstance(refused, socket.gaierror) or not isinstance(refused, OSError)
    if no_name and not isinstance(refused, OverflowError):  # that is the port's
        raise UsageError(f"--host {host}: {refused}; give an address or a name of this machine")
    if isinstance(refused, OSError) and port is None:
        raise storage_error(refused, f"listening on {host}")
    raise UsageError(f"--host {host} --port {port}: {refused}; choose another with --port")
