"""From dumps and text files to documents in three splits.

sources    which files a recipe's source means
cache      where downloaded dumps are kept
download   a wiki's dump from its server or the Internet Archive
dump       pages of a MediaWiki export
inputs     what each kind of source is read by
text_files documents of plain text files
rows       documents of JSON lines and Parquet
cirrus, wikiextractor, hub   documents of those formats, of Hugging Face data sets
extract    step 1: sources to parts of documents
streams, jobs, articles   ranges of a multistream dump, and what a worker makes of them
parts      what extraction leaves for assignment
filters    why a document is left out
near_duplicates, overlap   filters that compare documents
splits     which split a document belongs to
assign     step 2: parts to the splits' shards
shards     writing the finished corpus
documents  the finished corpus as its readers see it
stage      the two steps in one run directory
documents_only   the first step alone: `jagpt extract`
"""
