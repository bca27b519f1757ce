"""A measure of your own, taken at the start and at the end of a run (or on the way: ``probes_on_the_way=True``)."""

import toybed


def favourites(env, policy, start):
    """How likely the likeliest token is, and in how many contexts it is not the start's any more.

    Args:
        env: the world.
        policy: the S policies as they are now; as tables ``[S, C, V]``, ``policy.table(env)``.
        start: as they were at the start.

    Returns:
        Measures by name, each ``[S]``.
    """
    now, before = policy.table(env), start.table(env)
    return {
        "favourite": now.amax(-1).exp().mean(-1),
        "changed": (now.argmax(-1) != before.argmax(-1)).double().mean(-1),
    }


if __name__ == "__main__":
    results = toybed.train(
        "grpo", world="answer_bandit", policy="tabular", probes=[favourites], learning_rate=0.05, seeds=2
    )
    print(results.array("favourite"), results.array("changed"))
