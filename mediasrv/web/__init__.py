"""HTTP: middleware and one `routes_*` module a resource."""
