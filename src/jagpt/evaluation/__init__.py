"""How good a model is: on a split of its run, or on any text.

measures      nats by document → loss, perplexity, bits per character and byte, with intervals
windows       what the model sees of a stream of tokens, and which labels count
scoring       a causal model's nats for each label
result        what a measurement gives; `evaluation/test.json`
stage         the recipe's stage
checkpoint    a checkpoint on a split of its run
loading       any model of a folder or the hub
texts         any text, its documents unchanged, and their tokens
comparing     several models on one text
versus        two models, document by document
pairs         minimal pairs of sentences
memorization  generated spans that occur verbatim in the training corpus
harness       lm-evaluation-harness, an extra
"""
