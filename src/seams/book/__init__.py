"""The book: pages of `book/` as a web site, with what notebooks measured in double braces.

* `{{ fig05.values.KEY | .2f }}`: of `numbers.json`, of the run of record, else of the chosen
  profile, marked as such; of one profile alone by `{{ fig05.quick.values.KEY }}`. Likewise
  `parameters`, `runs`, `environment` and `verdicts`. What no run has written is "not run".
* `{{ fig05.figure }}`: the first picture, and the command that makes it; `{{ fig05.evidence }}`:
  what both runs found, as tabs; `{{ fig05.gallery }}`, `{{ switch.film }}`: traversals, training.
* `{{ fig05.rerun | betas=[2.5] }}`: how to run the notebook with another value.
* `{{ statements }}`, `{{ tally }}`, `{{ matrix }}`: the paper's, with verdicts; how many there are
  of each; all at a glance.
* `{{ beside }}`, `{{ fig05.beside }}`: the paper's own words with what stands beside them here.
* `{{ claims }}`, `{{ failing }}`, `{{ plan }}`: all claims, those that the run of record does not
  support, and what it takes to check each.
* `{{ cover }}`, `{{ record }}`, `{{ live }}`: first picture, runs of record, two of their decoders
  to move; `{{ live.linear }}`, `{{ live.surface }}`, `{{ live.noise }}`: what moves without a run.
* `{{ benchmark.derivatives | ratio_to_ours > gram/vmap of jacrev }}`: of a benchmark's result.
* `{{ test.vae }}`: the file that tests `seams.vae`, if there is one.

A page with `figure: NAME` in front shows that notebook, as a chapter of the figures by itself.
"""

from seams.book.build import assemble, build

__all__ = ["assemble", "build"]
