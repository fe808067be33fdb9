"""A release behind `transformers serve` and behind llama.cpp's server, with OpenAI's own client.

Arguments: the release, the folder with the material (`client.py` is the card's program).
"""

import contextlib
import sys
from pathlib import Path

import common
import serving
import transformers
import xllamacpp

SERVE = "from transformers.cli.transformers import main; main()"


@contextlib.contextmanager
def llamacpp(weights, context):
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_ctx, params.n_parallel, params.verbosity = context, 1, -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


folder, material = common.places()
wanted, context = serving.pytorch(folder)
title = f"transformers {'.'.join(transformers.__version__.split('.')[:2])} serve"
with serving.served(title, [sys.executable, "-c", SERVE, "serve", "."], folder) as url:
    serving.check(title, url, wanted)
    serving.card(title, url, material)
title = "llama.cpp's server"
with llamacpp(Path(folder) / "model-f32.gguf", context) as url:
    serving.check(title, url, wanted)
    serving.card(title, url, material)
