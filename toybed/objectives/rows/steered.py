"""Objectives steered by a controller between steps."""
