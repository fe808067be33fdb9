"""`jagpt plan`: tokens, steps, FLOPs, memory, disk, the time of each stage and the cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jagpt import machines
from jagpt.errors import UsageError
from jagpt.machines import Gpu
from jagpt.models.size import parameters_of
from jagpt.plan import growth
from jagpt.plan.growth import Grown
from jagpt.plan.instead import gpu_instead
from jagpt.plan.local import (
    FORWARD_SHARE,
    disk_of,
    flops_of_token,
    seconds_here,
    steps_of,
    teaching_factor,
)
from jagpt.plan.memory import Memory, knob, memory_of, with_batch_size
from jagpt.plan.published import efficiency
from jagpt.plan.size import XML_PER_DUMP_BYTE, Size, size_of, with_vocabulary
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

DOWNLOAD_BYTES = 10e6
"""Bytes a second from a dump server."""
EXTRACT_BYTES = 15.5e6
"""Bytes of XML that a core extracts per second (docs/benchmarks.md)."""
READ_BYTES = 30e6
"""Bytes of text that a core reads, filters and writes per second."""
ENCODE_BYTES = 15e6
"""Bytes of text that a core encodes per second."""
LEARN_SECONDS = 240e-6
"""Seconds of SentencePiece training per sentence (4 minutes per million)."""
CLOSING_SECONDS = 60
"""Export, release and the sample of an evaluation."""
DEFAULT_NETWORK = 12.5e9
"""Bytes per second and GPU between machines: 100 Gbit/s."""


@dataclass(frozen=True)
class Machine:
    """What the run is planned for; without `gpu`, this machine, whose speed is measured.

    `price` is that of one GPU (or this machine) per hour, `network` bytes per second and GPU.
    """

    gpu: Gpu | None = None
    gpus: int = 1
    price: float | None = None
    network: float = DEFAULT_NETWORK


@dataclass(frozen=True)
class Planned:
    """What a run takes: `seconds` by stage, `disk` by content, `memory` of one GPU.

    `range` are the hours of training at the best and the worst efficiency of the published runs,
    `waiting` the share of it in which GPUs wait for each other; `advice` is None if it fits,
    `instead` names a GPU if a CPU would take more than a week.
    """

    name: str
    precision: str
    machine: Machine
    size: Size
    parameters: int
    steps: int
    tokens: int
    flops: float
    seconds: dict[str, float]
    range: tuple[float, float] | None
    memory: Memory
    advice: str | None
    disk: dict[str, int]
    waiting: float
    instead: str | None = None

    @property
    def hours(self) -> float:
        """Wall-clock time of all stages together."""
        return sum(self.seconds.values()) / 3600

    @property
    def cost(self) -> float | None:
        """Price of all GPUs while they are at work: training and evaluation."""
        if self.machine.price is None:
            return None
        hours = (self.seconds["train"] + self.seconds["evaluate"]) / 3600
        return hours * self.machine.gpus * self.machine.price

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        gpu = self.machine.gpu
        return {
            "name": self.name,
            "gpu": gpu.name if gpu else None,
            "gpus": self.machine.gpus,
            "unknown_sources": list(self.size.unknown),
            "train_split_tokens": self.size.tokens,
            "parameters": self.parameters,
            "steps": self.steps,
            "tokens": self.tokens,
            "flops": self.flops,
            "seconds": self.seconds,
            "hours": self.hours,
            "training_hours_range": list(self.range) if self.range else None,
            "waiting_share": self.waiting,
            "memory": {**asdict(self.memory), "total": self.memory.total},
            "gpu_memory": gpu.memory if gpu else None,
            "fits": self.advice is None,
            "advice": self.advice,
            "gpu_instead": self.instead,
            "precision": self.precision,
            "disk": {**self.disk, "total": sum(self.disk.values())},
            "cost": self.cost,
        }


def plan(
    recipe: Recipe, run: RunDirectory, machine: Machine, text_bytes: int | None = None
) -> Planned:
    """What the recipe takes on the machine; no dump is needed, and nothing is written.

    `text_bytes` replaces the sources' own sizes. `UsageError` if a source's size is not known
    and the number of steps depends on it.
    """
    size = size_of(recipe, run, text_bytes)
    recipe = with_vocabulary(recipe, run, text_bytes)
    if size.unknown and recipe.train.max_epochs is not None:
        raise UsageError(
            f"plan: the size of {', '.join(size.unknown)} is not known here; give the MB of text "
            "with --text-mb"
        )
    steps = steps_of(recipe, size.epoch)
    tokens = steps * recipe.tokens_per_step
    train, waiting = _training_seconds(recipe, machine, steps)
    return Planned(
        name=recipe.name,
        precision=recipe.train.precision,
        machine=machine,
        size=size,
        parameters=parameters_of(recipe),
        steps=steps,
        tokens=tokens,
        flops=float(tokens * flops_of_token(recipe)),
        seconds=_seconds(recipe, size, train / max(tokens, 1), train),
        range=_range(machine, train),
        memory=memory_of(with_batch_size(recipe, machine.gpu.memory if machine.gpu else None)),
        advice=knob(recipe, machine.gpu.memory) if machine.gpu else None,
        disk=disk_of(recipe, size),
        waiting=waiting,
        instead=None if machine.gpu else instead_of_here(recipe, steps, train / 3600),
    )


def instead_of_here(recipe: Recipe, steps: int, hours: float) -> str | None:
    """A sentence naming a GPU if training takes a CPU more than a week, else None."""
    from jagpt import devices

    if devices.choose(recipe.execution.device).type != "cpu":
        return None
    return gpu_instead(recipe, steps, hours, DEFAULT_NETWORK)


def settled_on(gpu: Gpu, recipe: Recipe) -> Recipe:
    """The recipe in the precision that it means on the GPU; `UsageError` if the GPU lacks it."""
    if recipe.train.precision == "auto":
        return recipe.with_precision(gpu.precision)
    # On Apple's GPUs PyTorch accepts bf16 without being faster.
    if recipe.train.precision == "bf16" and not gpu.bf16 and gpu.family != "apple":
        raise machines.no_bf16(gpu.name)
    return recipe


def machine_of(
    name: str | None, gpus: int, price: float | None, network_gbit: float | None
) -> Machine:
    """The machine that the options describe; `UsageError` lists the known GPUs for an unknown
    one.
    """
    if name is None and gpus > 1:
        raise UsageError("--gpus: name the GPU with --gpu")
    network = DEFAULT_NETWORK if network_gbit is None else network_gbit * 1e9 / 8
    return Machine(None if name is None else machines.gpu(name), gpus, price, network)


def grown(planned: Planned, recipe: Recipe) -> list[Grown]:
    """The run on 1 to 64 of its GPUs, and over larger corpora."""
    if planned.machine.gpu is None:
        raise UsageError("--growth: name the GPU with --gpu")
    return growth.grow(recipe, planned.machine.gpu, planned.steps, planned.machine.network)


def _training_seconds(recipe: Recipe, machine: Machine, steps: int) -> tuple[float, float]:
    """Seconds of training, and the share of them in which GPUs wait for each other."""
    if machine.gpu is None:
        return seconds_here(recipe, steps), 0.0
    step = growth.step_on(recipe, machine.gpu, machine.gpus, machine.network)
    return step.seconds * steps, 1 - step.computing / step.seconds


def _range(machine: Machine, seconds: float) -> tuple[float, float] | None:
    if machine.gpu is None:
        return None
    known = efficiency(machine.gpu.family)
    low, high = (seconds * known.middle / bound / 3600 for bound in (known.high, known.low))
    return low, high


def _seconds(recipe: Recipe, size: Size, per_token: float, train: float) -> dict[str, float]:
    """Seconds of each stage; `per_token` is for training on the whole machine."""
    cores = recipe.execution.workers or machines.available_cores()
    xml = size.dump * XML_PER_DUMP_BYTE
    text = size.text / (1 - sum(recipe.corpus.shares))
    measured = size.tokens * recipe.corpus.shares[1]
    forward = FORWARD_SHARE / teaching_factor(recipe)
    learning = 0.0 if recipe.tokenizer.from_ else recipe.tokenizer.sentences * LEARN_SECONDS
    return {
        "download": size.dump / DOWNLOAD_BYTES,
        "corpus": (xml / EXTRACT_BYTES if xml else text / READ_BYTES) / cores,
        "tokenizer": learning if size.text > 100 * recipe.tokenizer.sentences else learning / 10,
        "tokens": text / ENCODE_BYTES / cores,
        "train": train,
        "evaluate": measured * per_token * forward + CLOSING_SECONDS / 2,
        "export and release": float(CLOSING_SECONDS),
    }
