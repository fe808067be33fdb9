"""llama.cpp's own quantization of a matrix, by the library that xllamacpp brings.

`ggml_quantize_chunk` is what `llama-quantize` calls for each tensor. xllamacpp offers it to nobody
in Python, but its library on Linux and macOS exports it. Which type each tensor gets is
llama.cpp's choice too (`llama_tensor_get_type_impl`, `tensor_type_fallback` in llama-quant.cpp),
as far as a GPT-2 without importance matrix meets it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.errors import JagptError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FUNCTION = "ggml_quantize_chunk"
MIXTURES = {"q4_k_m": "Q4_K", "q5_k_m": "Q5_K"}
"""Precision → the type of most tensors."""
_MORE_BITS, _TIED = "Q6_K", "token_embd.weight"
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Types in blocks of 256 → those in blocks of 32, for rows of another length."""


def require(name: str) -> None:
    """`UsageError` if this xllamacpp hides the function; `name` is the format that needs it."""
    if _function() is None:
        raise UsageError(
            f"{name}: this build of xllamacpp hides llama.cpp's quantizer ({FUNCTION}), as on "
            "Windows; `llama-quantize` makes this file of model-f32.gguf"
        )


def type_of(name: str, columns: int, layers: int, precision: str) -> str:
    """The type that llama.cpp gives a matrix, by its name in GGUF and the length of its rows."""
    import gguf

    def blocks(kind: str) -> int:
        return int(gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0])

    wanted = MIXTURES[precision]
    if name == _TIED or (name.endswith(("attn_qkv.weight", "ffn_down.weight"))
                         and _is_costly(int(name.split(".")[1]), layers)):  # fmt: skip
        wanted = _MORE_BITS
    if columns % blocks(wanted):
        wanted = _FALLBACK[wanted]
    return "F16" if columns % blocks(wanted) else wanted


def _is_costly(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def quantize(array: npt.NDArray[np.float32], kind: str) -> npt.NDArray[np.uint8]:
    """`array` (rows, columns) in the blocks of a type, as (rows, bytes)."""
    import gguf
    import numpy as np

    function = _function()
    if function is None:
        raise AssertionError("`require` was not asked")
    number = gguf.GGMLQuantizationType[kind]
    block, block_bytes = gguf.GGML_QUANT_SIZES[number]
    rows, columns = array.shape
    source = np.ascontiguousarray(array, dtype=np.float32)
    found = np.empty((rows, columns // block * block_bytes), np.uint8)
    written = function(int(number), source.ctypes.data, found.ctypes.data, 0, rows, columns, None)
    if written != found.nbytes:
        raise JagptError(f"llama.cpp wrote {written:,} bytes of {kind}, not {found.nbytes:,}")
    return found


@cache
def _function() -> Any:
    """`ggml_quantize_chunk`, or None if the library is missing or hides it."""
    spec = find_spec("xllamacpp")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).glob("xllamacpp*.so")):
            function = getattr(ctypes.CDLL(str(path)), FUNCTION, None)
            if function is not None:
                pointer, count = ctypes.c_void_p, ctypes.c_int64
                function.argtypes = (
                    ctypes.c_int, pointer, pointer, count, count, count, pointer,
                )  # fmt: skip
                function.restype = ctypes.c_size_t
                return function
    return None
