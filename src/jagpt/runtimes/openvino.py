"""OpenVINO on `openvino_model.xml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jagpt.errors import DataError
from jagpt.runtimes.decoder import PAST, Decoder
from jagpt.text import first_line


class OpenVino(Decoder):
    """A compiled graph in fp32; `context` is given by the caller, since the graph does not record
    it.
    """

    name = "openvino"

    def __init__(self, path: Path, context: int, threads: int | None = None) -> None:
        import openvino

        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            reason = first_line(error)
            raise DataError(f"{path}: OpenVINO cannot load this ({reason})") from None
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]
        self.context = context
        self.vocab_size = compiled.output("logits").partial_shape[2].get_length()
        self.cache_shapes = {
            node.get_any_name(): (
                node.partial_shape[1].get_length(), node.partial_shape[3].get_length()
            )
            for node in compiled.inputs
            if node.get_any_name().startswith(PAST)
        }  # fmt: skip

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        found = self._request.infer(dict(feeds), share_inputs=True)
        return {name: found[name].copy() for name in self._names}
