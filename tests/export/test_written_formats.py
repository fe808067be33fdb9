"""The files that are written from the weights alone, read back by their own libraries."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import msgpack
import numpy as np
import pytest
import torch

from jagpt.errors import JagptError
from jagpt.formats import flax, onnx, pytorch, tensorflow
from jagpt.formats.source import ModelSource


def test_pytorch_model_bin_holds_the_weights_and_ties_the_output(
    source: ModelSource, tmp_path: Path
) -> None:
    pytorch.write(source, tmp_path)
    pytorch.check(source, tmp_path)
    found = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    assert found["lm_head.weight"].data_ptr() == found["transformer.wte.weight"].data_ptr()
    for name, array in source.tensors.items():
        assert np.array_equal(found[name].numpy(), array)
    assert (tmp_path / "spiece.model").read_bytes() == (
        source.directory / "spiece.model"
    ).read_bytes()


def test_an_altered_pickle_is_noticed_without_reading_it(
    source: ModelSource, tmp_path: Path
) -> None:
    pytorch.write(source, tmp_path)
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in content if name.endswith("/data/3"))
    content[name] = bytes([content[name][0] ^ 1]) + content[name][1:]
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in content.items():
            archive.writestr(key, b"evil" if key.endswith("data.pkl") else value)
    with pytest.raises(JagptError, match=r"transformer\.h\.0\.ln_1\.bias is not as in"):
        pytorch.check(source, tmp_path)


def test_tf_model_h5_has_the_layout_of_tfgpt2lmheadmodel(
    source: ModelSource, tmp_path: Path
) -> None:
    tensorflow.write(source, tmp_path)
    tensorflow.check(source, tmp_path)
    with h5py.File(tmp_path / "tf_model.h5") as file:
        assert tensorflow._read_names(file, "layer_names") == ["transformer"]
        group = file["transformer"]
        names = tensorflow._read_names(group, "weight_names")
        scope = "tfgpt2lm_head_model/transformer"
        assert names[:3] == [
            f"{scope}/wte/embeddings:0", f"{scope}/wpe/embeddings:0",
            f"{scope}/h_._0/ln_1/gamma:0",
        ]  # fmt: skip
        assert len(names) == len(source.tensors)
        assert group[f"{scope}/h_._1/attn/c_attn/weight:0"].shape == (32, 96)
        assert group[f"{scope}/h_._1/attn/c_attn/bias:0"].shape == (1, 96)
        assert group[f"{scope}/ln_f/beta:0"].shape == (32,)


def test_a_long_list_of_names_is_spread_over_attributes(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow, "ATTRIBUTE_BYTES", 700)
    tensorflow.write(source, tmp_path)
    with h5py.File(tmp_path / "tf_model.h5") as file:
        parts = [key for key in file["transformer"].attrs if key.startswith("weight_names")]
        assert "weight_names0" in parts
        assert len(parts) > 2
    tensorflow.check(source, tmp_path)


def test_an_altered_h5_is_noticed(source: ModelSource, tmp_path: Path) -> None:
    tensorflow.write(source, tmp_path)
    with h5py.File(tmp_path / "tf_model.h5", "r+") as file:
        file["transformer/tfgpt2lm_head_model/transformer/ln_f/gamma:0"][7] += 1e-6
    with pytest.raises(JagptError, match="ln_f/gamma:0 is not as in"):
        tensorflow.check(source, tmp_path)


def test_flax_model_msgpack_is_a_tree_of_arrays(source: ModelSource, tmp_path: Path) -> None:
    flax.write(source, tmp_path)
    flax.check(source, tmp_path)
    tree = msgpack.unpackb((tmp_path / "flax_model.msgpack").read_bytes())
    block = tree["transformer"]["h"]["1"]
    assert set(block) == {"ln_1", "attn", "ln_2", "mlp"}
    kernel = block["mlp"]["c_fc"]["kernel"]
    assert kernel.code == 1
    shape, kind, data = msgpack.unpackb(kernel.data)
    assert (shape, kind) == ([128, 32], "float32")
    wanted = source.tensors["transformer.h.1.mlp.c_fc.weight"].T
    assert np.array_equal(np.frombuffer(data, np.float32).reshape(shape), wanted)
    assert set(tree["transformer"]["ln_f"]) == {"scale", "bias"}
    assert set(tree["transformer"]["wpe"]) == {"embedding"}


def test_a_large_array_is_cut_as_flax_does() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    packed = flax._packed(array, chunk_bytes=40)
    assert packed["shape"] == {"0": 4, "1": 6}
    assert list(packed["chunks"]) == ["0", "1", "2"]
    assert np.array_equal(flax._unpacked(packed), array)


def test_an_altered_msgpack_is_noticed(source: ModelSource, tmp_path: Path) -> None:
    flax.write(source, tmp_path)
    path = tmp_path / "flax_model.msgpack"
    data = bytearray(path.read_bytes())
    data[data.index(source.tensors["transformer.ln_f.bias"].tobytes()) + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(JagptError, match="is not as in"):
        flax.check(source, tmp_path)


@pytest.fixture(scope="module")
def graph(source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as one ONNX file."""
    folder = tmp_path_factory.mktemp("graph")
    onnx.write(source, folder)
    return folder / "model.onnx"


def test_a_graph_does_not_say_where_it_was_made(graph: Path) -> None:
    """PyTorch's exporter notes file and line of each node: the same model gives the same bytes."""
    content = graph.read_bytes()
    assert b".py" not in content
    assert b"jagpt" not in content


def test_a_graph_names_its_dimensions_as_optimum_does(graph: Path) -> None:
    """transformers.js 4 knows no others."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph)
    shapes = {node.name: node.shape for node in session.get_inputs()}
    together = "past_sequence_length + sequence_length"
    assert shapes["input_ids"] == shapes["position_ids"] == ["batch_size", "sequence_length"]
    assert shapes["attention_mask"] == ["batch_size", together]
    assert shapes["past_key_values.0.key"] == ["batch_size", 2, "past_sequence_length", 16]
    (present,) = (node for node in session.get_outputs() if node.name == "present.0.key")
    assert present.shape == ["batch_size", 2, together, 16]
