"""The book: the pages of `book/`, with what the notebooks measured, as one web site.

A page quotes runs through substitutions in double braces, resolved before Sphinx sees the page:

* `{{ fig05.values.KEY | .2f }}`: one entry of `numbers.json`, of the run of record; where that has
  none, of the chosen profile, marked as such. In one profile and no other by
  `{{ fig05.quick.values.KEY }}`; likewise `parameters`, `runs`, `environment` and `verdicts`.
* `{{ fig05.evidence }}`: picture, claims, numbers and provenance, for the chosen profile and then
  for the run of record.
* `{{ fig05.rerun | betas=[2.5] }}`: how to run the notebook with another value.
* `{{ fig05.gallery }}`: its traversals, with a slider, if the notebook wrote any.
* `{{ statements }}` and `{{ tally }}`: the paper's statements with their verdicts, and how many
  there are of each, in the run of record if there is one.
* `{{ claims }}`, `{{ cover }}`, `{{ record }}` and `{{ live }}`: the table of all claims, notebook
  by notebook, the picture of the first page, the runs of record, and their decoders to play with.
* `{{ failing }}`: the claims that the run of record does not support.
* `{{ benchmark.derivatives | ratio_to_ours > gram/vmap of jacrev }}`: an entry of the benchmark's
  result.
* `{{ test.vae }}`: the file that tests `seams.vae`, if there is one.

A number that no run has written is printed as "not run", never invented. A page whose front matter
says `figure: NAME` shows that notebook, and is a chapter of the figures without being listed.
"""

from seams.book.build import assemble, build

__all__ = ["assemble", "build"]
