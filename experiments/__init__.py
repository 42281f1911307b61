"""Experiments on fractal Bayesian nets, one file each, and the harness that runs them."""
