"""No phoning home: the telemetry of libraries is off, unless the environment says otherwise.

Each of these libraries reads its variable when it is imported, or passes it to its own processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "DO_NOT_TRACK": "1",  # huggingface_hub and others: https://consoledonottrack.com
        "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and gradio through it
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets, evaluate
        "GRADIO_ANALYTICS_ENABLED": "False",  # gradio: also checks for a newer version
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: it keeps an id in ~/.cache too
        "RAY_USAGE_STATS_ENABLED": "0",
        "WANDB_ERROR_REPORTING": "false",  # W&B's own crashes, reported to another company
    }
)


def off() -> None:
    """Switch off what can be, for this process and all that it starts; existing settings stay.

    Call this before any of the libraries is imported.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    # OpenVINO knows no variable: it sends an event at each import, unless this cannot be imported
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
