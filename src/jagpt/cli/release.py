"""`jagpt release`: the folder to publish, and publishing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt.cli.common import app, make_progress, open_recipe, print_json, recipe_options
from jagpt.cli.run import Call, run_verb
from jagpt.errors import UsageError

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.release.destination import Destination
    from jagpt.release.publication import PublicationPlan
    from jagpt.release.publish import Outcome
    from jagpt.rundir import RunDirectory


@app.command()
@recipe_options
@click.option(
    "--to", metavar="DESTINATION",
    help="Publish to git:URL, hub:ORG/NAME, or (the corpus) hub-dataset:ORG/NAME.",
)  # fmt: skip
@click.option("--public", is_flag=True, help="Make the repository on the hub public.")
@click.option(
    "--dry-run", is_flag=True, help="With --to: print what would be sent, and send nothing."
)
def release(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    to: str | None,
    public: bool,
    dry_run: bool,
) -> None:
    """Make the folder to publish: model, card, changelog, checksums. One stage of a run.

    With --to, it is sent to a repository as a new revision: a commit and its tag. Never prompts:
    git uses its own credentials, the hub HF_TOKEN or the token that `hf auth login` stored. If
    interrupted, the same command continues.
    """
    if to is None:
        if dry_run or public:
            raise UsageError(f"{'--dry-run' if dry_run else '--public'} needs --to")
        run_verb(Call(recipe, overrides, run_dir, force, yes, as_json, only="release"))
        return
    from jagpt.release import destination

    place = destination.parse(to)
    if public and place.kind == "git":
        raise UsageError("--public needs hub:ORG/NAME or hub-dataset:ORG/NAME")
    outcome = _publish(
        *open_recipe(recipe, overrides, run_dir), place, make_progress(as_json),
        force=force, public=public, dry_run=dry_run, quiet=as_json,
    )  # fmt: skip
    if as_json:
        print_json(_outcome_value(outcome, dry_run))
    else:
        click.echo(_outcome_line(outcome, dry_run))


def _publish(
    recipe: Recipe,
    run: RunDirectory,
    place: Destination,
    progress: Progress,
    *,
    force: bool,
    public: bool,
    dry_run: bool,
    quiet: bool,
) -> Outcome:
    """Finish the folder to publish, print what will be sent, send it."""
    from jagpt import files, pipeline
    from jagpt.release.publish import publish

    def tell(plan: PublicationPlan) -> None:
        for line in () if quiet else plan.lines():
            click.echo(line)

    with files.locked(run.root):
        ledger = pipeline.Ledger.read(run)
        if place.is_dataset:
            state = pipeline.examine(recipe, run, ledger, "corpus")[-1]
            if not state.done:
                raise UsageError(
                    f"the corpus is {state.status}: `jagpt run RECIPE --until corpus` makes it"
                )
        else:
            pipeline.run_stages(recipe, run, progress, only="release", force=force, ledger=ledger)
        return publish(recipe, run, place, progress, public=public, dry_run=dry_run, tell=tell)


def _outcome_line(outcome: Outcome, dry_run: bool) -> str:
    revision = outcome.plan.publication.revision
    if outcome.plan.done:
        return f"{revision} is already published: nothing to do"
    if dry_run or outcome.commit is None:
        return "nothing was sent (--dry-run)"
    return f"published: {revision}, commit {outcome.commit}"


def _outcome_value(outcome: Outcome, dry_run: bool) -> dict[str, Any]:
    plan = outcome.plan
    return {
        "to": plan.where,
        "revision": plan.publication.revision,
        "dry_run": dry_run,
        "published_before": plan.done,
        "commit": outcome.commit,
        "files": [
            {
                "name": file.name, "bytes": file.entry.size, "sha256": file.entry.sha256,
                "lfs": file.in_lfs, "changed": file.name in plan.changed,
            }
            for file in plan.publication.files
        ],
        "removed": list(plan.removed),
    }  # fmt: skip
