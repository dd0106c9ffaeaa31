"""Measures dispatch and throughput with real processes, each figure beside its floor."""
