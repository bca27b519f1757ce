"""The GRU and the transformer against torch's own, and one causal pass against reading every history by itself.

Twins are compared in float64: sums of some 64 terms of size 1 through a few layers leave 1e-13; a wrong term, 1e-3.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from toybed.agents.choices import choose
from toybed.agents.policies import flat_parameters, make_policy
from toybed.agents.rollout import draw_prompts, response_log_probs, rollout
from toybed.agents.sequences import TABLE_ROWS, _Gates
from toybed.envs import make
from toybed.envs.chain_reach import ChainReach
from toybed.envs.core import Reading
from toybed.errors import ToybedError
from toybed.streams import Streams

ENV = ChainReach(modulus=5, operations=3, length=4, view="tokens")
POLICIES = {
    "gru": {"width": 12, "embedding": 7},
    "transformer": {"width": 16, "heads": 2, "layers": 2, "expansion": 3},
    "transformer of one head": {"width": 8, "heads": 1, "layers": 1},
}
every_policy = pytest.mark.parametrize("name", POLICIES)
EXACT = {"rtol": 0, "atol": 1e-12}


def some_policy(name, runs=2, env=ENV):
    """Every weight drawn anew, of size 0.5, in float64: no bias or position that is 0, no gain that is 1."""
    policy = make_policy(name.split(" ")[0], env, range(runs), **POLICIES[name]).double()
    random = np.random.default_rng(7)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(torch.from_numpy(random.normal(scale=0.5, size=p.shape)))
    return policy


def some_responses(policy, env=ENV, prompts=6, group=5):
    streams = Streams("rollout", range(policy.runs))
    return rollout(env, policy.float(), draw_prompts(env.prompts(), prompts, streams), group, streams)


# -- torch's own -------------------------------------------------------------------------------------------------------
def vectors(policy, run, history):
    """The embedded entries of one history, ``[1, E, width]``, entry by entry."""
    sizes = [ENV.modulus, ENV.modulus, *[ENV.operations] * (ENV.length - 1)]
    starts = np.cumsum([0, *sizes[:-1]])
    rows = [policy.embedding[run, start + value] for start, value in zip(starts, history, strict=False)]
    return torch.stack(rows)[None]


def torch_gru(policy, run):
    """``torch.nn.GRU`` with the run's weights: after the last entry, ``[width]``."""
    twin = torch_gru_of(policy, run)
    return lambda history: twin(vectors(policy, run, history))[0, -1]


@torch.no_grad()
def torch_gru_of(policy, run):
    """The same as a function of vectors ``[1, E, embedding]``: after each of them, ``[1, E, width]``."""
    width = policy.weight_hidden.shape[1]
    twin = nn.GRU(policy.embedding.shape[-1], width, batch_first=True).double()
    for theirs, ours in (("ih", "input"), ("hh", "hidden")):
        getattr(twin, f"weight_{theirs}_l0").copy_(getattr(policy, f"weight_{ours}")[run].T)
        getattr(twin, f"bias_{theirs}_l0").copy_(getattr(policy, f"bias_{ours}")[run, 0])
    return lambda frames: twin(frames)[0]


def torch_transformer(policy, run):
    """``torch.nn.TransformerEncoderLayer`` with the run's weights and a causal mask, read alike."""
    twin = torch_transformer_of(policy, run)
    return lambda history: twin(vectors(policy, run, history))[0, -1]


@torch.no_grad()
def torch_transformer_of(policy, run):
    """The same as a function of vectors ``[1, E, width]``: after each of them, ``[1, E, width]``."""
    layers = [torch_layer(block, run) for block in policy.blocks]

    def read(frames):
        x = frames + policy.position[run, :, : frames.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(frames.shape[1], dtype=torch.float64)
        for layer in layers:
            x = layer(x, src_mask=mask, is_causal=True)
        gain, bias = policy.norm.gain[run, 0, 0], policy.norm.bias[run, 0, 0]
        return nn.functional.layer_norm(x, x.shape[-1:], gain, bias)

    return read


def torch_layer(block, run):
    width, wide = block.up.weight.shape[1:]
    layer = nn.TransformerEncoderLayer(
        width, block.heads, wide, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    attention = layer.self_attn
    for weight, bias, ours in (
        (attention.in_proj_weight, attention.in_proj_bias, block.qkv),
        (attention.out_proj.weight, attention.out_proj.bias, block.out),
        (layer.linear1.weight, layer.linear1.bias, block.up),
        (layer.linear2.weight, layer.linear2.bias, block.down),
    ):
        weight.copy_(ours.weight[run].T)
        bias.copy_(ours.bias[run, 0])
    for theirs, ours in ((layer.norm1, block.norm_attention), (layer.norm2, block.norm_network)):
        theirs.weight.copy_(ours.gain[run, 0, 0])
        theirs.bias.copy_(ours.bias[run, 0, 0])
    return layer.eval()


@every_policy
def test_the_policy_is_torchs_own_network_with_the_same_weights(name):
    """Every run, on histories of all lengths at once, against torch's network on one history at a time, unpadded."""
    policy = some_policy(name)
    contexts = ENV.contexts()[::7]
    with torch.no_grad():
        logits = policy(contexts.expand(2, -1, -1))
        lengths = set()
        for run in range(2):
            read = (torch_gru if name == "gru" else torch_transformer)(policy, run)
            for row, context in enumerate(contexts.tolist()):
                history = [entry for f, entry in enumerate(context) if f < 2 or entry < ENV.operations]
                lengths.add(len(history))
                expected = read(history) @ policy.weight_head[run] + policy.bias_head[run, 0]
                assert torch.allclose(logits[run, row], expected, **EXACT)
    assert lengths == {2, 3, 4, 5}
    assert logits.std(1).min() > 1e-2, "the logits do not stand still"


# -- one pass ----------------------------------------------------------------------------------------------------------
@every_policy
def test_one_pass_over_a_response_is_every_history_by_itself(name):
    policy = some_policy(name)
    sample = some_responses(policy)
    policy.double()
    at_once = response_log_probs(ENV, policy, sample.observation, None)
    one_by_one = policy.log_probs(sample.observation)
    assert at_once.shape == one_by_one.shape == (2, 6, 5, 4, 3)
    assert torch.allclose(at_once, one_by_one, **EXACT)
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=sample.token.shape))
    gradients = [
        torch.autograd.grad((choose(log_probs, sample.token) * weight).sum(), list(policy.parameters()))
        for log_probs in (at_once, one_by_one)
    ]
    for one, two in zip(*gradients, strict=True):
        # sums over 240 positions of terms of size 1 to 100
        assert torch.allclose(one, two, rtol=0, atol=1e-10)
        assert one.abs().max() > 1e-6 or two.abs().max() <= 1e-10


@every_policy
def test_one_pass_in_float32_is_what_was_recorded_when_sampling(name):
    policy = make_policy(name.split(" ")[0], ENV, range(2), **POLICIES[name])
    sample = some_responses(policy)
    log_probs = response_log_probs(ENV, policy, sample.observation, None)
    # log-probabilities of size 1 of a fresh network: some ten roundings of 6e-8
    assert torch.allclose(choose(log_probs, sample.token), sample.log_prob, rtol=0, atol=3e-6)


@every_policy
def test_following_responses_token_by_token_is_reading_each_history_anew(name):
    """Also through the step at which the responses of a group, whose first state is one, part."""
    policy = some_policy(name)
    seen = some_responses(policy).observation
    policy.double()
    follow = policy.follow()
    for t in range(ENV.length):
        observation = seen[:, :, :1, t] if t == 0 else seen[:, :, :, t]
        assert torch.allclose(follow(observation), policy.log_probs(observation), **EXACT)


@every_policy
def test_a_reader_begins_anew_with_each_rollout(name):
    policy = some_policy(name)
    assert torch.equal(some_responses(policy).log_prob, some_responses(policy).log_prob)


@pytest.mark.parametrize("rows", [1, 3, 8, 13])
def test_gates_do_not_depend_on_where_a_row_lies(rows):
    """Each row alone, among others, and in another order, has the same bits."""
    random = torch.Generator().manual_seed(rows)
    given, kept = (2 * torch.randn(2, rows, 12, generator=random) for _ in range(2))
    hidden = torch.randn(2, rows, 4, generator=random)
    alone = torch.cat([_Gates.apply(*(x[:, [row]] for x in (given, kept, hidden))) for row in range(rows)], 1)
    assert torch.equal(_Gates.apply(given, kept, hidden), alone)
    assert torch.equal(_Gates.apply(*(x.flip(1) for x in (given, kept, hidden))), alone.flip(1))


def test_the_gradient_of_the_gates_is_that_of_their_formula():
    random = torch.Generator().manual_seed(0)
    given, kept = (torch.randn(2, 3, 12, generator=random, dtype=torch.float64) for _ in range(2))
    hidden = torch.randn(2, 3, 4, generator=random, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (given, kept, hidden)]
    reset, update = torch.sigmoid(given + kept)[..., :8].chunk(2, -1)
    new = torch.tanh(given[..., 8:] + reset * kept[..., 8:])
    assert torch.allclose(_Gates.apply(*inputs), (1 - update) * new + update * hidden, **EXACT)
    assert torch.autograd.gradcheck(_Gates.apply, inputs)


@every_policy
def test_a_later_token_changes_nothing_before_it(name):
    policy = some_policy(name)
    sample = some_responses(policy)
    policy.double()
    before = policy.response_log_probs(sample.observation)
    for entry in range(2, 5):
        observation = sample.observation.clone()
        observation[..., -1, entry] = (observation[..., -1, entry] + 1) % ENV.operations
        after = policy.response_log_probs(observation)
        changed = entry - 1  # the first position that has seen it
        assert torch.equal(after[..., :changed, :], before[..., :changed, :])
        assert ((after - before)[..., changed, :].abs().amax(-1) > 1e-6).all()


@every_policy
def test_blanks_change_nothing(name):
    """A history among longer ones, with blanks to fill its row, is the history by itself without them."""
    policy = some_policy(name)
    contexts = ENV.contexts()
    mixed = policy(contexts.expand(2, -1, -1))
    written = 2 + (contexts[:, 2:] < ENV.operations).sum(-1)
    for length in range(2, 6):
        alone = contexts[written == length, :length]
        assert torch.allclose(policy(alone.expand(2, -1, -1)), mixed[:, written == length], **EXACT)


@every_policy
def test_the_gradient_reaches_every_parameter_and_every_vector(name):
    policy = some_policy(name)
    contexts = ENV.contexts()
    random = torch.from_numpy(np.random.default_rng(1).normal(size=(2, len(contexts), ENV.operations)))
    (policy.log_probs(contexts.expand(2, -1, -1)) * random).sum().backward()
    for parameter, p in policy.named_parameters():
        assert p.grad.flatten(1).any(1).all(), parameter
    assert policy.embedding.grad.any(-1).all(), "a value that is never read has no vector"
    assert len(flat_parameters(policy)) == 2


@every_policy
def test_a_table_is_the_policy_at_every_context(name):
    env = ChainReach(modulus=13, operations=5, length=3, view="tokens")
    policy = some_policy(name, env=env)
    contexts = env.contexts()
    assert len(contexts) > TABLE_ROWS, "a table of several parts"
    assert torch.allclose(policy.table(env), policy.log_probs(contexts.expand(2, -1, -1)), **EXACT)


@every_policy
def test_a_response_of_one_token_is_a_history_without_tokens(name):
    env = ChainReach(modulus=5, operations=3, length=1, view="tokens")
    policy = some_policy(name, env=env)
    sample = some_responses(policy, env)
    policy.double()
    assert torch.allclose(policy.response_log_probs(sample.observation), policy.log_probs(sample.observation), **EXACT)


def test_the_responses_of_a_group_share_the_frames_before_their_only_token():
    env = ChainReach(modulus=5, operations=3, length=1, view="tokens")
    policy = some_policy("gru", env=env)
    observation = some_responses(policy, env).observation
    policy.double()
    shared = policy.response_log_probs(observation, shared_start=True)
    assert shared.shape == (2, 6, 5, 1, 3)
    assert torch.allclose(shared, policy.response_log_probs(observation), **EXACT)


# -- frames of several entries -----------------------------------------------------------------------------------------
class Paired(ChainReach):
    """ChainReach whose goal and start are read at once, and whose first token is read with the second."""

    @property
    def reading(self):
        """Frames (goal, start), (first token, second), (third): one token is chosen after each of the last two."""
        return Reading(((0, 1), (2, 3), (4,)), (5, 5, 3, 3, 3))


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_a_frame_is_the_sum_of_its_entries_vectors(name):
    """Against torch's own network on sums that are made here, frame by frame."""
    policy = make_policy(name, Paired(modulus=5, operations=3, length=4, view="tokens"), [0, 1], **POLICIES[name])
    policy.double()
    observation = torch.tensor([[4, 1, 2, 0, 1], [0, 3, 1, 1, 2]])
    hidden = policy.hidden(observation.expand(2, -1, -1))
    assert hidden.shape[:3] == (2, 2, 3)
    starts = [0, 5, 10, 13, 16]
    for run in range(2):
        twin = torch_gru_of(policy, run) if name == "gru" else torch_transformer_of(policy, run)
        for row, entries in enumerate(observation.tolist()):
            vectors = [policy.embedding[run, start + value] for start, value in zip(starts, entries, strict=True)]
            frames = torch.stack([vectors[0] + vectors[1], vectors[2] + vectors[3], vectors[4]])[None]
            with torch.no_grad():
                assert torch.allclose(hidden[run, row], twin(frames)[0], **EXACT)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gru", "transformer"])
@pytest.mark.parametrize("env", [ChainReach(), make("answer_bandit")], ids=repr)
def test_a_world_that_shows_no_history_is_refused(name, env):
    with pytest.raises(ToybedError) as error:
        make_policy(name, env, [0])
    assert str(error.value) == (
        f"{name} reads the response's history, which {type(env).__name__} does not show; "
        'allowed: a world that does, such as chain_reach with view="tokens"'
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gru", {"embedding": 0}, "gru: embedding is 0; allowed: at least 1"),
        ("transformer", {"layers": 0}, "transformer: layers is 0; allowed: at least 1"),
        ("transformer", {"heads": 0}, "transformer: heads is 0; allowed: at least 1"),
        ("transformer", {"expansion": 0}, "transformer: expansion is 0; allowed: at least 1"),
        (
            "transformer",
            {"width": 24, "heads": 4},
            "transformer: width 24 gives 4 heads 6 numbers each; allowed: multiples of 4, so that a run alone is the "
            "run in a stack",
        ),
        (
            "transformer",
            {"width": 64, "heads": 3},
            "transformer: width 64 gives 3 heads 21.3333 numbers each; allowed: multiples of 4, so that a run alone is "
            "the run in a stack",
        ),
    ],
)
def test_a_wrong_size_is_refused(name, options, message):
    with pytest.raises(ToybedError) as error:
        make_policy(name, ENV, [0], **options)
    assert str(error.value) == message
