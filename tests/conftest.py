"""What every test shares."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from hypothesis import HealthCheck, settings

# No deadline: a busy machine is no bug. `HYPOTHESIS_PROFILE=nightly` looks longer (make nightly).
settings.register_profile("jagpt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("jagpt"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "jagpt"))
