"""Random inputs for whatever reads what strangers send."""
