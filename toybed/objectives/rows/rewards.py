"""Objectives for vector rewards and sets of answers, and shaped rewards."""
