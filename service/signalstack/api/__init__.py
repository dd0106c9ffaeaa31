"""HTTP: the application, its middleware, and one module per resource."""
