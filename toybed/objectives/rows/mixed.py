"""Objectives that learn from more than on-policy samples: demonstrations, refinements, preferences, a target."""
