"""One torch thread, and the hypothesis profile that every test uses."""

import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("toybed", deadline=None, derandomize=False, max_examples=50, print_blob=True)
settings.load_profile("toybed")
