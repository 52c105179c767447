"""What the library costs: one script a question, each against the reference and against plain digital JAX."""
