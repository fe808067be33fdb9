"""The folder to publish: model, card, changelog, checksums; and publishing it.

folder        the stage: everything that goes into `release/`
facts         the records of the stages before it
card, dataset_card   the pages, English and Japanese
metadata, hub_schema   what stands in their YAML, and what the hub allows there
licences      of sources and models
exports, usage, trial   the further formats, and the programs that the card shows, tried first
samples, recipe_text, changelog, markdown   parts of the pages
destination   what `--to` says
publish       inspect the remote, print the plan, send
assemble      from a run to the files of a revision
publication   those files, LFS, checksums, the plan
git, hub      the remotes
secrets       what messages must not reveal
"""
