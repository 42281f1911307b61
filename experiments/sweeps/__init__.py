"""Sweeps: one experiment many times, over a grid of settings and over seeds."""
