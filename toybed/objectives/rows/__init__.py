"""The rows of the catalogue, by the idea in which they differ. ``catalogue`` loads them."""
