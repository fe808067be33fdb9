"""OpenVINO's own files, converted from the ONNX graph; fp32."""

from __future__ import annotations

from pathlib import Path

from jagpt.formats import onnx
from jagpt.formats.source import ModelSource

WEIGHTS = "openvino_model.xml"


def write(source: ModelSource, folder: Path) -> None:
    """`openvino_model.xml` and `.bin` under Optimum's names, and what it reads besides them."""
    import openvino

    with onnx.graph_of(source, folder.parent / "onnx") as graph:
        model = openvino.convert_model(graph)
        openvino.save_model(model, folder / WEIGHTS, compress_to_fp16=False)
        del model  # it memory-maps the ONNX file's weights
    source.copy_config(folder)
    source.copy_tokenizer(folder)
