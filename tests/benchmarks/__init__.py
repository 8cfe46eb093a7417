"""Tests of benchmarks/: what a benchmark measures is what it claims to measure."""
