"""SignalStack's Grafana dashboards as code; `python -m boards` writes them as JSON."""
