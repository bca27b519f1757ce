"""Random numbers by name: every stream is a child of the run's one root seed.

A child *by name* and not by number: adding a purpose never shifts another one's draws.
"""

from __future__ import annotations

import hashlib

import numpy as np


def named_generator(seed: int, name: str) -> np.random.Generator:
    """The stream ``name`` of root ``seed``, e.g. ``named_generator(3, "rollout")``.

    Philox, whose key has 128 bits: torch's CPU generator uses only the low 32 bits of its seed, so that seed 1 and
    seed 1 + 2^32 would be the same run.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    child = np.random.SeedSequence(seed, spawn_key=tuple(np.frombuffer(digest, dtype=np.uint32).tolist()))
    return np.random.Generator(np.random.Philox(child))
