"""What you can bring along, each in under 30 lines: copy one and change it. ``python -m toybed.examples.own_policy``.

====================  =============================================================================================
``own_objective``     a loss as one function, and an objective in which one stage is replaced
``own_policy``        any ``nn.Module``
``own_world``         a world as pure functions of a state
``own_probe``         a measure of policies that no run takes by itself
``own_question``      a claim that can be false, and the rule by which it is judged
``results``           curves as arrays and data frames, from training and from a store
``gymnasium_loop``    a world of toybed under a learner that knows gymnasium only
====================  =============================================================================================

In a file of your own they have the name ``file:Thing``, which goes wherever toybed takes the name of one of its own:
``toybed compare grpo my_losses:my_loss --on my_worlds:World``, ``toybed run my_questions:STUDY``.
"""
