"""The programs that people run models with, each on the file that `jagpt export` made for it.

    Runtime             what parity and generation ask of each
    ├── Decoder         one that gives logits step by step, its cache handed in and out
    │   ├── OnnxRuntime
    │   └── OpenVino
    ├── CTranslate2
    └── LlamaCpp

Shapes: R rows that continue together, T tokens, V vocabulary. All compute on the processor.
"""

from jagpt.runtimes.base import Drawing, DrawingRuntime, Runtime, StepRuntime, Steps

__all__ = ["Drawing", "DrawingRuntime", "Runtime", "StepRuntime", "Steps"]
