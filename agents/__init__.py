"""Those who act and learn: policies with a run axis, rollouts, supervised and policy-gradient learners."""

if __name__ != "toybed.agents":
    raise ImportError(f"import this package as toybed.agents, not as {__name__}: it would be a second copy")
