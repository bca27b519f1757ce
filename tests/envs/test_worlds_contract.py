"""What every registered world promises: gymnasium's rules, one dynamics behind three interfaces, honest errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from toybed.envs import WORLDS, make
from toybed.envs.adapters import TokenGymEnv, TokenVectorEnv
from toybed.envs.chain_reach import ChainState
from toybed.envs.core import SPLITS
from toybed.errors import ToybedError

HEADINGS = (
    "Description",
    "Action space",
    "Observation",
    "Reward",
    "Termination",
    "Knobs",
    "Optimum and random baseline",
    "What it stands for in LLM training",
)
# Small and odd-shaped settings of each world, so that no two axes have the same length by accident.
VARIANTS = [
    ("answer_bandit", {}),
    ("answer_bandit", {"prompt_count": 5, "answers": 7, "correct": 2, "rank": 3, "trap": 0.5}),
    ("answer_bandit", {"prompt_count": 5, "answers": 7, "true_positive": 0.8, "false_positive": 0.1}),
    ("chain_reach", {}),
    ("chain_reach", {"modulus": 7, "operations": 3, "length": 4, "train_share": 0.3, "table_seed": 3}),
    ("chain_reach", {"modulus": 5, "operations": 3, "length": 4, "view": "tokens"}),
    ("chain_reach", {"modulus": 7, "operations": 4, "length": 1, "view": "tokens"}),
    ("tool_search", {}),
    ("tool_search", {"clusters": 2, "tools": 5, "hops": 4, "questions": 40, "train_share": 0.3, "shift": "index"}),
    ("tool_search", {"clusters": 3, "hops": 2, "questions": 24, "guess": True, "set_size": 2, "shift": "cue"}),
    ("tool_search", {"clusters": 2, "tools": 4, "hops": 2, "questions": 24, "retry": True, "calls": 6}),
    ("tool_search", {"clusters": 2, "tools": 5, "hops": 3, "questions": 24, "set_size": 4, "common": -4.0}),
    ("tool_search", {"clusters": 2, "tools": 4, "hops": 1, "questions": 24, "retry": True, "calls": 3, "guess": True}),
    ("plan_exec", {}),
    ("plan_exec", {"types": 7, "stages": 2, "skills": 4, "values": 5, "nvalid": 1, "hard_frac": 0.3, "table_seed": 3}),
    ("plan_exec", {"types": 5, "stages": 1, "skills": 3, "values": 7, "nvalid": 1, "hard_frac": 0.0}),
    ("plan_exec", {"types": 5, "stages": 2, "skills": 4, "values": 7, "view": "tokens"}),
    ("belief_track", {"train_stories": 64, "test_stories": 8}),
    ("belief_track", {"agents": 5, "events": 7, "train_stories": 30, "test_stories": 8, "view": "stream"}),
    ("belief_track", {"containers": 4, "events": 6, "train_stories": 30, "test_stories": 8, "view": "trace"}),
    ("belief_track", {"events": 7, "train_stories": 30, "test_stories": 8, "view": "trace", "memory": "none"}),
    ("mi_dialogue", {}),
    ("mi_dialogue", {"hold": 2, "turns": 6, "n_types": 1, "held_out": 0, "see_type": True, "gated": False}),
    ("mi_dialogue", {"level": "act", "turns": 6, "n_types": 2, "held_out": 1, "reward_source": "text"}),
    ("mi_dialogue", {"level": "act", "turns": 5, "n_types": 1, "see_type": True, "see_counters": True, "held_out": 0}),
    ("mi_dialogue", {"level": "both", "turns": 6, "hold": 3, "n_types": 2, "held_out": 1, "see_type": True}),
    ("mi_dialogue", {"level": "both", "turns": 4, "hold": 1}),
]
NOISELESS, NOISY = (
    [(name, knobs) for name, knobs in VARIANTS if (make(name, **knobs).noise > 0) == noisy] for noisy in (False, True)
)

TABULATED = [(name, knobs) for name, knobs in VARIANTS if make(name, **knobs).tabulated]

every_world = pytest.mark.parametrize("name", WORLDS)
every_variant = pytest.mark.parametrize(("name", "knobs"), VARIANTS)
every_table = pytest.mark.parametrize(("name", "knobs"), TABULATED)


def gym_id(name):
    return f"toybed.envs:{WORLDS[name].gym_id}"


def some_tokens(env, *shape):
    return torch.from_numpy(np.random.default_rng(1).integers(env.vocabulary, size=(*shape, env.horizon)))


def made_legal(legal, token):
    """The tokens ``[N]``, with the last legal one in the place of each that ``legal [N, V]`` does not allow."""
    if legal is None:
        return token
    legal, token = np.asarray(legal), np.asarray(token)
    last = legal.shape[-1] - 1 - legal[..., ::-1].argmax(-1)
    return np.where(np.take_along_axis(legal, token[..., None], -1)[..., 0], token, last)


def sampled(env, info):
    """A random action that the info allows."""
    return made_legal(info.get("action_mask"), env.action_space.sample())


def test_every_world_has_a_variant():
    assert {name for name, _ in VARIANTS} == set(WORLDS)


# -- gymnasium ---------------------------------------------------------------------------------------------------------
@every_variant
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_check_env_passes_without_a_warning(name, knobs, render_mode):
    env = gymnasium.make(gym_id(name), render_mode=render_mode, **knobs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_env(env.unwrapped) is None
    assert env.spec.max_episode_steps is None  # the horizon is part of the task: terminated, never truncated


@every_world
def test_make_in_a_fresh_process_without_importing_toybed(name):
    code = (
        "import sys, gymnasium\n"
        "assert not any(m.startswith('toybed') for m in sys.modules)\n"
        f"env = gymnasium.make({gym_id(name)!r})\n"
        "observation, info = env.reset(seed=0)\n"
        "assert env.observation_space.contains(observation)\n"
        "print(env.spec.id)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [WORLDS[name].gym_id]


@every_world
def test_the_registry_names_the_class(name):
    assert type(make(name)) is WORLDS[name].env_class
    assert isinstance(gymnasium.make(gym_id(name)).unwrapped, TokenGymEnv)
    assert gymnasium.make(gym_id(name)).unwrapped.token_env == make(name)


@every_world
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_make_vec_offers_two_autoreset_modes(name, mode):
    env = gymnasium.make_vec(gym_id(name), num_envs=3, autoreset_mode=mode)
    assert isinstance(env, TokenVectorEnv)
    assert env.metadata["autoreset_mode"] is mode
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation.shape == (3, len(make(name).observation_sizes))


@every_world
def test_make_vec_defaults_to_gymnasiums_own_mode(name):
    assert gymnasium.make_vec(gym_id(name), num_envs=2).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


@every_world
def test_make_vec_refuses_same_step(name):
    with pytest.raises(ToybedError, match=r"SAME_STEP is not offered; allowed: NEXT_STEP, DISABLED"):
        gymnasium.make_vec(gym_id(name), num_envs=3, autoreset_mode=AutoresetMode.SAME_STEP)


@every_variant
def test_next_step_mode_starts_the_next_episode_on_the_step_after_the_last(name, knobs):
    env = gymnasium.make_vec(gym_id(name), num_envs=4, **knobs)
    horizon = env.unwrapped.token_env.horizon
    first, info = env.reset(seed=3)
    env.action_space.seed(0)
    starts = [first]
    for step in range(1, 3 * (horizon + 1) + 1):
        observation, reward, terminated, truncated, info = env.step(sampled(env, info))
        place = step % (horizon + 1)  # 0: the step that resets, and ignores its action
        assert env.observation_space.contains(observation)
        assert not truncated.any()
        assert (terminated == (place == horizon)).all()
        if place == 0:
            assert (reward == 0).all()
            starts.append(observation)
    core = env.unwrapped.token_env
    firsts = {tuple(row) for row in core.observe(core.reset(core.prompts())).tolist()}
    assert all(tuple(row) in firsts for start in starts for row in start.tolist()), "an episode begins in the middle"
    if len(firsts) > 1:
        assert any((start != first).any() for start in starts[1:]), "a new episode draws a new prompt"


def test_next_step_mode_serves_episodes_at_different_times():
    env = gymnasium.make_vec(gym_id("chain_reach"), num_envs=2, modulus=7, operations=3, length=3)
    env.reset(seed=0)
    env.step(np.zeros(2, dtype=np.int64))
    env.reset(options={"reset_mask": np.array([False, True])})  # episode 1 is one token behind now
    times, ends = [], []
    for _ in range(8):
        observation, reward, terminated, _, _ = env.step(np.zeros(2, dtype=np.int64))
        times.append(observation[:, 2].tolist())
        ends.append(terminated.tolist())
        assert (reward[observation[:, 2] != 3] == 0).all()
    assert times == [[2, 1], [3, 2], [0, 3], [1, 0], [2, 1], [3, 2], [0, 3], [1, 0]]
    assert ends == [[time == 3 for time in row] for row in times]


@every_variant
def test_disabled_mode_resets_only_what_the_mask_names(name, knobs):
    env = gymnasium.make_vec(gym_id(name), num_envs=4, autoreset_mode=AutoresetMode.DISABLED, **knobs)
    core = env.unwrapped.token_env
    _, info = env.reset(seed=3)
    for _ in range(core.horizon):
        before, _, terminated, _, info = env.step(made_legal(info.get("action_mask"), np.zeros(4, dtype=np.int64)))
    assert terminated.all()
    with pytest.raises(ToybedError, match=r"episodes \[0, 1, 2, 3\] are over.*reset_mask"):
        env.step(np.zeros(4, dtype=np.int64))
    mask = np.array([True, False, True, False])
    prompt = core.n_prompts - 1
    after, _ = env.reset(options={"reset_mask": mask, "prompt": prompt})
    fresh = core.observe(core.reset(torch.tensor(prompt))).numpy()
    np.testing.assert_array_equal(after[mask], np.stack([fresh, fresh]))
    np.testing.assert_array_equal(after[~mask], before[~mask])
    with pytest.raises(ToybedError, match=r"episodes \[1, 3\] are over"):
        env.step(np.zeros(4, dtype=np.int64))


@every_world
@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones(4, dtype=np.int64), np.ones((4, 1), dtype=bool)])
def test_a_wrong_reset_mask_is_refused(name, mask):
    env = gymnasium.make_vec(gym_id(name), num_envs=4, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    with pytest.raises(ToybedError, match="reset_mask must be a bool array of 4"):
        env.reset(options={"reset_mask": mask})


@every_world
def test_one_seed_serves_all_episodes_of_a_vector(name):
    with pytest.raises(ToybedError, match="one seed"):
        gymnasium.make_vec(gym_id(name), num_envs=2).reset(seed=[1, 2])


# -- one dynamics, three interfaces ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "knobs"), NOISELESS)
def test_single_vector_and_core_agree(name, knobs):
    core = make(name, **knobs)
    single = gymnasium.make(gym_id(name), **knobs)
    vector = gymnasium.make_vec(gym_id(name), num_envs=6, autoreset_mode=AutoresetMode.DISABLED, **knobs)
    tokens = some_tokens(core, 6)
    paid = 0.0
    for prompt in (0, 3, core.n_prompts // 2, core.n_prompts - 1):
        batch, _ = vector.reset(options={"prompt": prompt})
        state = core.reset(torch.full((6,), prompt))
        seen, taken = [(batch, np.zeros(6))], []
        np.testing.assert_array_equal(batch, core.observe(state).numpy())
        for t in range(core.horizon):
            before, legal = core.reward(state), core.legal(state)
            taken.append(np.asarray(made_legal(legal, tokens[:, t])))
            state = core.step(state, torch.from_numpy(taken[-1]))
            batch, reward, terminated, truncated, _ = vector.step(taken[-1])
            np.testing.assert_array_equal(batch, core.observe(state).numpy())
            np.testing.assert_array_equal(reward, (core.reward(state) - before).numpy())
            assert (terminated == (t == core.horizon - 1)).all() and not truncated.any()
            seen.append((batch, reward))
            paid += float(reward.sum())
        for row in range(6):
            observation, _ = single.reset(options={"prompt": prompt})
            np.testing.assert_array_equal(observation, seen[0][0][row])
            for t in range(core.horizon):
                observation, reward, terminated, truncated, _ = single.step(taken[t][row])
                np.testing.assert_array_equal(observation, seen[t + 1][0][row])
                assert reward == seen[t + 1][1][row]
                assert terminated == (t == core.horizon - 1) and not truncated
    if core.horizon == 1:  # 24 answers of which 3/16 or more are right: some are paid, or nothing was compared
        assert paid > 0


@pytest.mark.parametrize(("name", "knobs"), NOISY)
def test_single_vector_and_core_agree_on_the_same_noise(name, knobs):
    core = make(name, **knobs)
    single = gymnasium.make(gym_id(name), **knobs)
    vector = gymnasium.make_vec(gym_id(name), num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **knobs)
    for seed, tokens in enumerate(some_tokens(core, 12)):
        # What the adapters draw: a prompt, then the episode's noise.
        random, _ = gymnasium.utils.seeding.np_random(seed)
        prompt = torch.from_numpy(random.integers(len(core.prompts()), size=1))
        state = core.reset(prompt, torch.from_numpy(random.random((1, core.noise), dtype=np.float32)))
        (one, _), (many, _) = single.reset(seed=seed), vector.reset(seed=seed)
        for token in tokens:
            np.testing.assert_array_equal(core.observe(state).numpy(), many)
            np.testing.assert_array_equal(one, many[0])
            before, token = core.reward(state), made_legal(core.legal(state), token[None])
            state = core.step(state, torch.as_tensor(token))
            (one, paid, *_), (many, paid_many, *_) = single.step(np.asarray(token)[0]), vector.step(np.asarray(token))
            assert paid == paid_many[0] == float((core.reward(state) - before)[0])


@every_variant
def test_a_vector_of_one_is_the_single_environment(name, knobs):
    single = gymnasium.make(gym_id(name), **knobs)
    vector = gymnasium.make_vec(gym_id(name), num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **knobs)
    tokens = some_tokens(make(name, **knobs), 20)
    for episode, row in enumerate(tokens.numpy()):
        seed = 5 if episode == 0 else None
        (one, info), (many, _) = single.reset(seed=seed), vector.reset(seed=seed)
        np.testing.assert_array_equal(one, many[0])
        for token in row:
            token = made_legal(info.get("action_mask"), token)
            one, many = single.step(token), vector.step(token[None])
            info = one[4]
            np.testing.assert_array_equal(one[0], many[0][0])
            assert set(info) == set(many[4])
            for name in info:
                np.testing.assert_array_equal(info[name], many[4][name][0])
            assert one[1] == many[1][0] and one[2] == many[2][0]


@every_variant
def test_state_functions_have_free_leading_axes(name, knobs):
    env = make(name, **knobs)
    random = np.random.default_rng(2)
    prompt = torch.from_numpy(random.integers(env.n_prompts, size=24))
    noise = torch.from_numpy(random.random((24, env.noise), dtype=np.float32)) if env.noise else None
    tokens = some_tokens(env, 24)

    def trace(index, shape):
        start = prompt[index].reshape(shape)
        state = env.reset(start, None if noise is None else noise[index].reshape(*shape, env.noise))
        seen = [(env.observe(state), env.reward(state), env.legal(state))]
        for t in range(env.horizon):
            state = env.step(state, tokens[index, t].reshape(shape))
            seen.append((env.observe(state), env.reward(state), env.legal(state)))
        return seen

    flat = trace(slice(None), (24,))
    for shape in ((), (3,), (2, 3, 4)):
        size = int(np.prod(shape))
        for (observation, reward, legal), (observation_0, reward_0, legal_0) in zip(
            trace(slice(size), shape), flat, strict=True
        ):
            assert observation.shape == (*shape, len(env.observation_sizes)) and observation.dtype == torch.int64
            assert reward.shape == shape
            assert torch.equal(observation.reshape(size, -1), observation_0[:size])
            assert torch.equal(reward.reshape(size), reward_0[:size])
            assert (legal is None) == (legal_0 is None)
            if legal is not None:
                assert torch.equal(legal.reshape(size, -1), legal_0[:size])


@every_variant
def test_observations_stay_below_their_sizes_and_kinds_cover_the_horizon(name, knobs):
    env = make(name, **knobs)
    sizes = torch.tensor(env.observation_sizes)
    state = env.reset(env.prompts())
    for t in range(env.horizon):
        observation = env.observe(state)
        assert (observation >= 0).all() and (observation < sizes).all()
        state = env.step(state, torch.full_like(env.prompts(), t % env.vocabulary))
    assert (env.observe(state) < sizes).all()
    assert len(env.kinds) == env.horizon


@every_variant
def test_what_is_read_before_a_token_stays_as_it_was(name, knobs):
    """A sequence policy reads a response once, from its last observation: frames may be filled, and never changed."""
    env = make(name, **knobs)
    if (reading := env.reading) is None:
        return
    prompts = env.prompts()[:: max(env.n_prompts // 2000, 1)]
    tokens = some_tokens(env, len(prompts))
    state, seen = env.reset(prompts), []
    before_first = len(reading.frames) - env.horizon
    assert before_first >= 0, "every token is chosen after a frame"
    assert sorted(entry for frame in reading.frames for entry in frame) == list(range(len(env.observation_sizes)))
    sizes = torch.tensor(reading.sizes)
    for t in range(env.horizon):
        observation = env.observe(state)
        assert (env.position(observation) == t).all()
        read = [entry for frame in reading.frames[: before_first + t + 1] for entry in frame]
        assert (observation[:, read] < sizes[read]).all(), "something that is read has no value"
        seen.append((read, observation[:, read]))
        state = env.step(state, tokens[:, t])
    for read, then in seen:
        assert torch.equal(observation[:, read], then)


# -- determinism and copies --------------------------------------------------------------------------------------------
def single_trace(env, episodes, seed):
    trace = []
    env.action_space.seed(9)
    for episode in range(episodes):
        first, info = env.reset(seed=seed if episode == 0 else None)
        trace.append(first.tolist())
        done = False
        while not done:
            observation, reward, done, _, info = env.step(sampled(env, info))
            trace.append((observation.tolist(), reward, done))
    return trace


def vector_trace(env, steps, seed):
    first, info = env.reset(seed=seed)
    trace = [first.tolist()]
    env.action_space.seed(9)
    for _ in range(steps):
        observation, reward, done, _, info = env.step(sampled(env, info))
        trace.append((observation.tolist(), reward.tolist(), done.tolist()))
    return trace


@every_variant
def test_two_copies_with_one_seed_agree_and_another_seed_differs(name, knobs):
    one, two, other = (single_trace(gymnasium.make(gym_id(name), **knobs), 20, seed) for seed in (4, 4, 5))
    assert one == two
    assert one != other
    one, two, other = (
        vector_trace(gymnasium.make_vec(gym_id(name), num_envs=5, **knobs), 20, seed) for seed in (4, 4, 5)
    )
    assert one == two
    assert one != other


@every_variant
def test_an_environment_pickled_in_the_middle_continues_alike(name, knobs):
    env = gymnasium.make(gym_id(name), **knobs).unwrapped
    _, info = env.reset(seed=1)
    info = env.step(0)[4] if env.token_env.horizon > 1 else info
    copy = pickle.loads(pickle.dumps(env))
    assert copy.token_env == env.token_env
    for each in (env, copy):
        each.action_space.seed(0)
    rest = env.token_env.horizon - int(env.token_env.horizon > 1)
    for _ in range(rest):
        here, there = env.step(sampled(env, info)), copy.step(sampled(copy, info))
        info = here[4]
        np.testing.assert_array_equal(here[0], there[0])
        assert here[1:3] == there[1:3]
    np.testing.assert_array_equal(env.reset()[0], copy.reset()[0])


@every_variant
def test_a_world_is_its_knobs(name, knobs):
    env, copy = make(name, **knobs), pickle.loads(pickle.dumps(make(name, **knobs)))
    assert env == copy and hash(env) == hash(copy)
    start = env.observe(env.reset(env.prompts()))
    assert torch.equal(env.demonstrate()(start), copy.demonstrate()(start))
    if env.tabulated:
        uniform = torch.zeros(len(env.contexts()), env.vocabulary)
        assert torch.equal(env.evaluate(uniform).reward, copy.evaluate(uniform).reward)
        assert torch.equal(env.demonstrator(), copy.demonstrator())
    assert env != make(name, **{**knobs, "table_seed": 77})


@every_variant
def test_what_a_caller_is_given_does_not_change_later(name, knobs):
    env = gymnasium.make_vec(gym_id(name), num_envs=3, **knobs)
    first, info = env.reset(seed=0)
    kept = first.copy()
    for _ in range(3):
        info = env.step(sampled(env, info))[4]
    np.testing.assert_array_equal(first, kept)


# -- for people --------------------------------------------------------------------------------------------------------
@every_variant
def test_ansi_rendering_is_one_line_and_follows_the_episode(name, knobs):
    env = gymnasium.make(gym_id(name), render_mode="ansi", **knobs)
    env.reset(seed=0)
    before = env.render()
    env.step(0)
    after = env.render()
    for line in (before, after):
        assert line and "\n" not in line and line == line.strip()
    assert before != after


@every_world
def test_no_render_mode_renders_nothing_and_a_wrong_one_is_refused(name):
    env = TokenGymEnv(make(name))
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(ToybedError, match="'human'; allowed: 'ansi' or None"):
        TokenGymEnv(make(name), render_mode="human")


@every_world
def test_the_docstring_has_the_eight_headings_in_order_and_names_every_knob(name):
    text = WORLDS[name].env_class.__doc__
    places = [text.find(f"\n    {heading}:\n") for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)
    knobs = text[places[5] : places[6]]
    for field in WORLDS[name].env_class.__dataclass_fields__:
        assert field == "device" or f"``{field}``" in knobs


# -- contexts and splits -----------------------------------------------------------------------------------------------
@every_table
def test_context_index_numbers_the_contexts(name, knobs):
    env = make(name, **knobs)
    contexts = env.contexts()
    assert contexts.shape[1] == len(env.observation_sizes)
    assert torch.equal(env.context_index(contexts), torch.arange(len(contexts)))
    half = contexts[: len(contexts) // 2 * 2]
    folded = half.view(2, -1, contexts.shape[1])
    assert torch.equal(env.context_index(folded).flatten(), torch.arange(len(half)))
    assert env.demonstrator().shape == (len(contexts), env.vocabulary)


@every_variant
def test_splits_partition_the_prompts(name, knobs):
    env = make(name, **knobs)
    train, test, every = (env.prompts(split) for split in ("train", "test", "all"))
    assert torch.equal(every, torch.arange(env.n_prompts))
    # A table of the bandit has nothing to generalise over; types of users are held out or not.
    if name == "answer_bandit" or (name == "mi_dialogue" and env.held_out == 0):
        assert torch.equal(train, every) and torch.equal(test, every)
    else:
        assert torch.equal(torch.cat([train, test]).sort().values, every)
        if name == "mi_dialogue":
            assert len(test) == env.held_out
        elif name == "belief_track":
            assert len(train) == env.train_stories
        else:  # round() moves the cut by half a prompt at most, or by half a start value with its prompts of all types
            together = env.types if name == "plan_exec" else 1
            assert abs(len(train) - env.train_share * env.n_prompts) <= 0.5 * together
        assert torch.equal(train, train.sort().values)
    with pytest.raises(ToybedError, match="unknown split 'trian': did you mean 'train'"):
        env.prompts("trian")


@every_variant
@pytest.mark.parametrize("split", SPLITS)
def test_reset_draws_from_the_split(name, knobs, split):
    env = make(name, **knobs)
    vector = TokenVectorEnv(env, 300)
    observation, _ = vector.reset(seed=0, options={"split": split})
    starts = env.observe(env.reset(env.prompts(split))).numpy()
    assert {tuple(row) for row in observation.tolist()} <= {tuple(row) for row in starts.tolist()}
    # Where a prompt is hidden at first, all starts look alike.
    assert len({tuple(row) for row in observation.tolist()}) > 1 or len({tuple(row) for row in starts.tolist()}) == 1


@pytest.mark.parametrize("share", [0.01, 0.05, 0.95, 0.99])
def test_an_accepted_split_leaves_prompts_on_both_sides(share):
    try:
        env = make("chain_reach", modulus=3, operations=4, train_share=share)
    except ToybedError as error:
        assert "train_share" in str(error)  # refusing the knob is as good
        return
    assert len(env.prompts("train")) > 0 and len(env.prompts("test")) > 0


# -- errors ------------------------------------------------------------------------------------------------------------
@every_world
@pytest.mark.parametrize("shift", [0, -1])
def test_a_prompt_out_of_range_is_refused(name, shift):
    count = make(name).n_prompts
    prompt = count if shift == 0 else -1
    for env in (gymnasium.make(gym_id(name)), gymnasium.make_vec(gym_id(name), num_envs=2)):
        with pytest.raises(ToybedError, match=f"prompt is {prompt}; allowed: 0 to {count - 1}"):
            env.reset(options={"prompt": prompt})
        with pytest.raises(ToybedError, match="unknown split 'tests': did you mean 'test'"):
            env.reset(options={"split": "tests"})


@pytest.mark.parametrize(("wrong", "near"), [("chain_reech", "chain_reach"), ("answerbandit", "answer_bandit")])
def test_an_unknown_world_names_the_nearest(wrong, near):
    with pytest.raises(ToybedError, match=f"unknown world '{wrong}': did you mean '{near}'"):
        make(wrong)


@every_world
def test_an_unknown_knob_names_the_nearest(name):
    with pytest.raises(ToybedError, match=f"unknown knob of {name} 'table_sed': did you mean 'table_seed'"):
        make(name, table_sed=1)
    with pytest.raises(ToybedError, match=f"unknown knob of {name}"):
        gymnasium.make(gym_id(name), table_sed=1)


@pytest.mark.parametrize(
    ("name", "knobs", "knob", "allowed"),
    [
        ("answer_bandit", {"prompt_count": 0}, "prompt_count", "1"),
        ("answer_bandit", {"answers": 1}, "answers", "2"),
        ("answer_bandit", {"correct": 0}, "correct", "1 to 15"),
        ("answer_bandit", {"correct": 16}, "correct", "1 to 15"),
        ("answer_bandit", {"rank": 0}, "rank", "1 to 14"),
        ("answer_bandit", {"rank": 15}, "rank", "1 to 14"),
        ("answer_bandit", {"rank": 1, "trap": 0.5}, "rank", "above 1"),
        ("answer_bandit", {"trap": 1.5}, "trap", "0 to 1"),
        ("answer_bandit", {"trap": float("nan")}, "trap", "0 to 1"),
        ("answer_bandit", {"true_positive": -0.1}, "true_positive", "0 to 1"),
        ("answer_bandit", {"false_positive": 1.1}, "false_positive", "0 to 1"),
        ("chain_reach", {"modulus": 2}, "modulus", "prime of at least 3"),
        ("chain_reach", {"modulus": 15}, "modulus", "prime"),
        ("chain_reach", {"modulus": 49}, "modulus", "prime"),
        ("chain_reach", {"operations": 1}, "operations", "2 to 930"),
        ("chain_reach", {"operations": 931}, "operations", "2 to 930"),
        ("chain_reach", {"length": 0}, "length", "1 to 16"),
        ("chain_reach", {"length": 17}, "length", "1 to 16"),
        ("chain_reach", {"train_share": 0.0}, "train_share", "above 0"),
        ("chain_reach", {"train_share": 1.0}, "train_share", "below 1"),
        ("chain_reach", {"view": "token"}, "view", "'state' or 'tokens'"),
        ("tool_search", {"clusters": 0}, "clusters", "1 to 8"),
        ("tool_search", {"tools": 5}, "tools", "6 to 10"),
        ("tool_search", {"hops": 0}, "hops", "1 to 5"),
        ("tool_search", {"retry": True, "calls": 2}, "calls", "3 to 8"),
        ("tool_search", {"set_size": 5}, "set_size", "1 to 4"),
        ("tool_search", {"set_size": 2, "retry": True}, "set_size", "1 to 1, with retry"),
        ("tool_search", {"common": 1.1}, "common", "-4 to 1"),
        ("tool_search", {"common": float("nan")}, "common", "-4 to 1"),
        ("tool_search", {"questions": 1}, "questions", "2 to"),
        ("tool_search", {"rho": 1.5}, "rho", "0 to 1"),
        ("tool_search", {"dominant": float("nan")}, "dominant", "0 to 1"),
        ("tool_search", {"by_heart": -0.1}, "by_heart", "0 to 1"),
        ("tool_search", {"train_share": 1.0}, "train_share", "below 1"),
        ("tool_search", {"shift": "tool"}, "shift", "'none', 'index', 'cue'"),
        ("plan_exec", {"types": 0}, "types", "1 to 1024"),
        ("plan_exec", {"stages": 9}, "stages", "1 to 8"),
        ("plan_exec", {"skills": 2}, "skills", "3 to 16"),
        ("plan_exec", {"values": 1}, "values", "2 to 64"),
        ("plan_exec", {"nvalid": 5}, "nvalid", "1 to 4"),
        ("plan_exec", {"default_valid": 1.1}, "default_valid", "0 to 1"),
        ("plan_exec", {"hard_frac": float("nan")}, "hard_frac", "0 to 1"),
        ("plan_exec", {"train_share": 0.0}, "train_share", "above 0"),
        ("plan_exec", {"view": "token"}, "view", "'state' or 'tokens'"),
        ("mi_dialogue", {"turns": 0}, "turns", "1 to 60"),
        ("mi_dialogue", {"resist": float("nan")}, "resist", "0 to 100"),
    ],
)
def test_a_knob_out_of_range_names_the_knob_and_what_is_allowed(name, knobs, knob, allowed):
    with pytest.raises(ToybedError) as error:
        make(name, **knobs)
    message = str(error.value)
    assert message.startswith(f"{name}: ") and knob in message and allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(("modulus", "operations"), [(3, 6), (5, 20), (7, 42)])
def test_every_allowed_number_of_operations_can_be_drawn(monkeypatch, modulus, operations):
    """Distinct operations must be found in a bounded number of draws, up to all m (m - 1) of them."""
    draws, randint = 0, torch.randint

    def counted(*args, **options):
        nonlocal draws
        draws += 1
        assert draws <= 20_000, f"{operations} distinct operations modulo {modulus} were not found in 10000 tries"
        return randint(*args, **options)

    monkeypatch.setattr(torch, "randint", counted)
    env = make("chain_reach", modulus=modulus, operations=operations, length=1)
    value = torch.arange(modulus)[:, None].expand(modulus, operations)
    after = env.step(ChainState(value, value, torch.zeros_like(value)), torch.arange(operations).expand_as(value))
    assert len({tuple(column) for column in after.value.T.tolist()}) == operations


# -- truth, in the coarse (test_worlds_oracle.py has the fine) ---------------------------------------------------------
@every_table
def test_the_random_baseline_is_the_exact_worth_of_uniform_tokens(name, knobs):
    env = make(name, **knobs)
    exact = env.evaluate(env.uniform())
    # float64 sums of at most 4096 terms below 1: rounding far below 1e-12
    assert abs(float(exact.reward.mean()) - env.random_baseline()) < 1e-12
    if env.legal_at(env.contexts()) is None:
        assert torch.allclose(exact.entropy, torch.tensor(env.horizon * np.log(env.vocabulary)), rtol=1e-12, atol=0)
    assert float(env.score(exact.reward.mean())) == pytest.approx(0, abs=1e-11)
    assert float(env.score(torch.tensor(env.optimum(), dtype=torch.float64))) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"modulus": 7, "operations": 3, "length": 4},
        {"modulus": 31, "operations": 2, "length": 3},  # at most 8 of 31 goals can be reached: the optimum is below 1
        {"modulus": 7, "operations": 3, "length": 4, "view": "tokens"},
    ],
)
def test_the_demonstrator_without_noise_attains_the_optimum(knobs):
    env = make("chain_reach", **knobs)
    exact = env.evaluate(env.demonstrator(style=None, noise=0.0).double())
    # The table is float32: a relative error of 2^-24 |log p| a step, |log p| <= log(V^L) <= 9, L <= 4: below 3e-6.
    assert float(exact.reward.mean()) == pytest.approx(env.optimum(), abs=3e-6)
    assert (env.optimum() < 1) == (knobs.get("operations") == 2)


@pytest.mark.parametrize("trap", [0.0, 0.5])
def test_the_bandits_optimum_is_attained_by_the_strongest_tilt(trap):
    env = make("answer_bandit", trap=trap)
    best = env.evaluate(env.tilted(env.demonstrator().double(), 100.0)).reward
    # what is not right keeps at most 1 / p(right answer) * e^(-100 (1 - trap)) < 1e-18
    assert float(best.mean()) == pytest.approx(env.optimum(), abs=1e-12)
