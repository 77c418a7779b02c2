"""Benchmark of comparing: a pair of tables with a known truth, DuckDB and Polars on the same files, one judge for all.

A tool beside the road: no stage imports it. docs/benchmarks.md says what is compared and how to repeat it.
"""
