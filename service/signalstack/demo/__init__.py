"""Demo: one real event on its way from HTTP to a delivered webhook, with a clock on each stage."""
