"""Text to token ids and back: plain SentencePiece, several times as fast as any wrapper."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jagpt.errors import DataError
from jagpt.tokenizer import model as sentencepiece_model
from jagpt.tokenizer.folder import MODEL_FILE


class Encoder:
    """A tokenizer folder's SentencePiece model.

    `vocab_size`, `pad_id`, `unk_id`, `end_id`; `fingerprint` is the hex SHA-256 of `spiece.model`,
    which alone determines every id. A `foreign` model may have any special ids.
    """

    def __init__(self, raw: bytes, origin: Path | str, *, foreign: bool = False) -> None:
        import sentencepiece

        model = sentencepiece_model.parse(raw, origin)
        if not foreign:
            sentencepiece_model.check(model, origin)
        try:
            self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=raw)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{origin}: SentencePiece cannot read this model ({error})") from None
        self.fingerprint = hashlib.sha256(raw).hexdigest()
        self.vocab_size = int(self._processor.vocab_size())
        self.pad_id = int(self._processor.pad_id())
        self.unk_id = int(self._processor.unk_id())
        self.end_id = int(self._processor.eos_id())

    @classmethod
    def open(cls, directory: Path) -> Encoder:
        """The tokenizer in `directory`; `DataError` if it is missing, damaged or unfit."""
        path = directory / MODEL_FILE
        return cls(sentencepiece_model.read(path), path)

    @cached_property
    def _thread(self) -> Any:
        """A thread for batches: it keeps its own memory, which is faster than Python's heap."""
        import sentencepiece

        return sentencepiece.ThreadPool(1)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special ids."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def encode_array(self, text: str) -> npt.NDArray[np.int32]:
        """The ids of `text` as (N,) int32."""
        ids: npt.NDArray[np.int32] = self._processor.encode(text, return_type="numpy")
        return ids

    def encode_lines(self, text: str) -> npt.NDArray[np.int32]:
        """The ids of each line of `text`, encoded separately and joined without separators."""
        return np.concatenate(self.encode_batch(text.split("\n")))

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The ids of each text, each (N,) int32: the fastest way, all in one C++ call."""
        arrays: list[npt.NDArray[np.int32]] = self._processor.encode(
            list(texts), num_threads=1, thread_pool=self._thread, return_type="numpy"
        )
        return arrays

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The text of `ids`; special ids have none."""
        text: str = self._processor.decode([int(number) for number in ids])
        return text

    def piece(self, number: int) -> str:
        """The piece with this id, a space written as U+2581."""
        return str(self._processor.id_to_piece(number))

    def is_byte(self, number: int) -> bool:
        """Whether the piece is one byte of a character that has no piece."""
        return bool(self._processor.is_byte(number))

    def is_special(self, number: int) -> bool:
        """Whether the piece represents no text (padding, unknown, begin, end and the like)."""
        return bool(self._processor.is_control(number) or self._processor.is_unknown(number))
