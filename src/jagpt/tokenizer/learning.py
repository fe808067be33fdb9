"""Training SentencePiece, in a separate process.

The other process makes Ctrl-C immediate (SentencePiece ignores signals), returns its memory, and
turns running out of memory into a message.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jagpt import safepath
from jagpt.errors import DataError, JagptError, TooLittleTextError
from jagpt.recipe import Tokenizer
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer import vocabulary
from jagpt.tokenizer.sample import draw_sentences
from jagpt.workers import serve_parent

THREADS = 16
"""Always the same, whatever the number of cores: the threads' partial sums are part of the
result.
"""


SILENT = 2

STILL_AT_WORK = 5.0
"""Seconds after which `report` is called again."""

Report = Callable[[int, str], None]

_PHASES = (
    (r"Extracting (?:seed|frequent)|Making suffix array", "looking for pieces"),
    (r"Initialized (\d+) seed", "{} pieces to choose from"),
    (r"EM sub_iter=\d+ size=(\d+)", "{} pieces left"),
    (r"Added: .* size=(\d+)|Completed (\d+) merge", "{} pieces merged"),
)
"""What SentencePiece's log says → what is told of it; other lines say nothing new."""
TAIL_BYTES = 4096
"""End of the log in which its last word is looked for."""


def learn(corpus: Path, settings: Tokenizer, report: Report) -> bytes:
    """A SentencePiece model for the train split, serialized, in its exact form if it has one.

    `report` is called with the documents read so far and the current activity, at least every few
    seconds. `DataError` if the split is empty, or too small for the vocabulary.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sentencepiece.log"
        process = context.Process(target=_work, args=(sender, corpus, settings, log), daemon=True)
        with safepath.inherited():
            process.start()
        sender.close()
        try:
            result = _result(receiver, log, report)
        finally:
            process.kill()
            process.join()
    if isinstance(result, JagptError):
        raise result
    return result


def train(sentences: list[str], settings: Tokenizer, log: Path | None = None) -> bytes:
    """Train on `sentences`, in their order; an open size is what they ask for, or can give.

    SentencePiece says what it does in the file `log`.
    """
    if not sentences:
        raise DataError("the corpus's train split contains no text; see its dropped.jsonl")
    if not settings.size_is_open:
        return _train(sentences, settings, log)
    size = vocabulary.size_of(sentences, settings)
    try:
        return _train(sentences, settings.model_copy(update={"vocab_size": size}), log)
    except _TooManyPiecesError as error:
        return _train(sentences, settings.model_copy(update={"vocab_size": error.most}), log)


class _TooManyPiecesError(TooLittleTextError):
    """A vocabulary that the sentences cannot fill; they give `most` pieces."""

    def __init__(self, message: str, most: int) -> None:
        super().__init__(message)
        self.most = most


def _train(sentences: list[str], settings: Tokenizer, log: Path | None) -> bytes:
    import sentencepiece

    writer = io.BytesIO()
    try:
        with nullcontext() if log is None else log.open("w") as stream:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=writer,
                logstream=stream,
                minloglevel=SILENT if log is None else 0,
                **_options(settings),
            )
    except RuntimeError as error:
        raise _explained(str(error), settings, len(sentences)) from None
    model = pieces.parse(writer.getvalue(), "the trained model")
    if settings.exact:
        pieces.make_exact(model)
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def _options(settings: Tokenizer) -> dict[str, Any]:
    """SentencePiece's options; those not listed keep their default, as in the original."""
    options: dict[str, Any] = {
        "model_type": settings.type,
        "vocab_size": settings.vocab_size,
        "character_coverage": settings.character_coverage,
        "normalization_rule_name": settings.normalization,
        "add_dummy_prefix": settings.add_dummy_prefix,
        "byte_fallback": settings.byte_fallback,
        "split_digits": settings.split_digits,
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "pad_piece": pieces.PAD,
        "control_symbols": [pieces.CLS, pieces.SEP],
        "input_sentence_size": 0,
        "shuffle_input_sentence": False,
        "num_threads": THREADS,
    }
    if settings.keep_newlines:
        options |= {"remove_extra_whitespaces": False, "user_defined_symbols": ["\n"]}
    if settings.exact:
        options["required_chars"] = pieces.SPELLING
    return options


def _explained(message: str, settings: Tokenizer, sentences: int) -> JagptError:
    """SentencePiece's error in our words, or in its own if it is an unknown one."""
    wanted = f"[tokenizer] vocab_size: {settings.vocab_size:,}"
    if found := re.search(r"too high \(\d+\)\. Please set it to a value <= (\d+)", message):
        message = (
            f"{wanted} is more than the corpus supports: the {sentences:,} sentences drawn give "
            f'{int(found[1]):,} pieces at most; set it to {int(found[1])} or less, or to "auto", '
            "or add text"
        )
        return _TooManyPiecesError(message, int(found[1]))
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return DataError(
            f"{wanted} is less than the {int(found[1]):,} that the corpus's characters need; set "
            f"it to more than {int(found[1])}, or lower [tokenizer] character_coverage"
        )
    return JagptError(f"SentencePiece could not train a tokenizer: {message}")


def _result(receiver: Connection, log: Path, report: Report) -> bytes | JagptError:
    documents, phase = 0, "drawing sentences"
    try:
        while True:
            if not receiver.poll(STILL_AT_WORK):
                report(documents, ": ".join(filter(None, (phase, phase_of(log)))))
                continue
            message: int | str | bytes | JagptError = receiver.recv()
            if isinstance(message, bytes | JagptError):
                return message
            if isinstance(message, int):
                documents = message
            else:
                phase = message
            report(documents, phase)
    except EOFError:
        return JagptError(
            "SentencePiece's process ended without a result, most likely out of memory; lower "
            "[tokenizer] sentences"
        )


def phase_of(log: Path) -> str:
    """What SentencePiece does now, by the last telling line of its log; empty where none is."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        for pattern, said in _PHASES:
            if found := re.search(pattern, line):
                numbers = (f"{int(number):,}" for number in found.groups() if number)
                return said.format(*numbers)
    return ""


def _work(sender: Connection, corpus: Path, settings: Tokenizer, log: Path) -> None:
    """The other process: sends documents read, then a phase, then the model or what went wrong."""
    serve_parent()
    try:
        sentences = draw_sentences(corpus, settings.sentences, settings.seed, sender.send)
        sender.send(f"learning from {len(sentences):,} sentences")
        sender.send(train(sentences, settings, log if sys.stderr else None))
    except _TooManyPiecesError as error:
        sender.send(TooLittleTextError(str(error)))
    except JagptError as error:
        sender.send(error)
