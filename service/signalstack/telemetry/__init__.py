"""The only user of prometheus_client and opentelemetry."""
