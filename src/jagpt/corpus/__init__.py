"""From dumps and other sources to documents in three splits.

    sources ─▶ readers ─▶ convert ─▶ parts ─▶ assign ─▶ shards

stage           the two steps, convert and assign, in one run directory
documents       a document at each of its steps
sources         which files a recipe's source names; `cache`, where downloaded dumps are kept
download        a wiki's dump from its server or the Internet Archive
readers         readers for each kind of source:
  dump, streams   pages of a MediaWiki export; ranges of one in multistream form
  encodings, aozora   text in old encodings; Aozora Bunko's form
  text_files, rows, cirrus, wikiextractor, hub_datasets   documents of all other kinds
convert         step 1: sources to parts of articles
jobs, articles  a worker's task for it, per part and per page
parts           what step 1 leaves for step 2
assign          step 2: parts to the splits' shards; its jobs:
  judging, writing   look at a part's articles, write a shard
  duplicates, near_duplicates, overlap   compare documents
  spill            what one job leaves for another
cleaning        HojiChar's filters, by a profile
selection       which articles are taken at all
filters         why an article is left out
splits          which split a document belongs to
shards          the finished corpus on disk, written and read
extraction      step 1 without splits: `jagpt extract`
"""
