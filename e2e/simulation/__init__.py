"""A cluster without machines: real API server, real controllers, real reconcilers, and a fake Azure, at any size."""
