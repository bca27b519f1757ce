"""Objectives that differ in the surrogate: who gets the gradient of stale data."""
