"""Measurements: latency against frame count, engines, load, and side by side with the reference pipeline.

``unmask bench`` runs them; each run writes one JSON file (``benchmarks/record.schema.json``) with its raw samples, from which
every table and plot is made.
"""
