"""Why the published nets pad their image by 100, and how much less padding would save.

    python -m experiments.padding [--out DIR] [--demo DIR] [--gpu N|cpu] [--docs]

With --docs the command writes docs/padding.md and its drawings, from the numbers of
`net_gen.padding` and the result of the experiment.
"""
