"""Objectives that differ in the advantage: how rewards of a group become credit."""
