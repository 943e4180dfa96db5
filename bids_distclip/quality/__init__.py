"""Numbers about images: metrics, the structure guard, and the record of what happened to each image."""
