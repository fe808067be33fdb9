"""OpenVINO's own files, converted from the ONNX graph; fp32."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jagpt.formats import onnx
from jagpt.formats.bounds import Parity
from jagpt.formats.source import ModelSource

WEIGHTS = "openvino_model.xml"


def write(source: ModelSource, folder: Path) -> None:
    """`openvino_model.xml` and `.bin` under Optimum's names, and what it reads beside them."""
    import openvino

    with _graph(source, folder.parent / "onnx") as graph:
        model = openvino.convert_model(graph)
        openvino.save_model(model, folder / WEIGHTS, compress_to_fp16=False)
        del model  # it maps the ONNX file's weights
    source.copy_config(folder)
    source.copy_tokenizer(folder)


@contextmanager
def _graph(source: ModelSource, sibling: Path) -> Iterator[Path]:
    """The ONNX graph of the same model: the one that was exported beside, or one for the moment."""
    parity = Parity.find(sibling)
    if parity is not None and parity.source == source.sha256:
        yield sibling / onnx.WEIGHTS
        return
    with tempfile.TemporaryDirectory(prefix="jagpt-onnx-") as place:
        onnx.write(source, Path(place))
        yield Path(place) / onnx.WEIGHTS
