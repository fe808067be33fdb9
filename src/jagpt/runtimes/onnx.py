"""ONNX Runtime on a decoder graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jagpt.errors import DataError
from jagpt.runtimes.decoder import PAST, Decoder
from jagpt.text import first_line


class OnnxRuntime(Decoder):
    """A session on one graph; `context` is given by the caller, since the graph does not record
    it.
    """

    name = "onnx"

    def __init__(self, path: Path, context: int, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common type
            reason = first_line(error)
            raise DataError(f"{path}: ONNX Runtime cannot load this ({reason})") from None
        self.context = context
        self.vocab_size = int(self._session.get_outputs()[0].shape[-1])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.cache_shapes = {
            node.name: (int(node.shape[1]), int(node.shape[3]))
            for node in self._session.get_inputs()
            if node.name.startswith(PAST)
        }

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))
