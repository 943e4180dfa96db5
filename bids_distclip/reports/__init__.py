"""Pages a person judges with: figures of one image, the page of one subject, the page of the group."""
