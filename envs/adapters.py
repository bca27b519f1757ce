"""gymnasium's single and vector API over any TokenEnv."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from toybed.envs.core import TokenEnv, check_split
from toybed.errors import ToybedError

Info = dict[str, Any]


class _Episodes:
    """A batch of n episodes of one world, drawn from a NumPy generator. Both adapters are thin shells over it."""

    def __init__(self, env: TokenEnv) -> None:
        self.env = env
        self.state: Any = None
        self._paid: NDArray[np.float32] | None = None

    def begin(self, count: int, random: np.random.Generator, options: dict[str, Any] | None) -> Any:
        """A fresh state for ``count`` episodes; options ``split`` (default "all") and ``prompt`` (one number)."""
        options = options or {}
        split = options.get("split", "all")
        check_split(split)
        pool = self.env.prompts(split)
        prompt = pool[torch.from_numpy(random.integers(len(pool), size=count))]
        if "prompt" in options:
            if not 0 <= options["prompt"] < self.env.n_prompts:
                raise ToybedError(f"prompt is {options['prompt']}; allowed: 0 to {self.env.n_prompts - 1}")
            prompt = torch.full_like(prompt, options["prompt"])
        noise = random.random((count, self.env.noise), dtype=np.float32)
        return self.env.reset(prompt, torch.from_numpy(noise) if self.env.noise else None)

    def advance(self, action: NDArray[np.int64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Step all episodes and return the reward of the step; of those that are over neither is looked at.

        Any action of the space is taken, as gymnasium asks: in the world an illegal token costs the response's reward.
        """
        token = torch.as_tensor(action, dtype=torch.int64)
        before, collected = self.env.reward(self.state), self._vector()
        self.state = self.env.step(self.state, token)
        if collected is not None:
            paid = self._vector() - collected
            self._paid = np.where(over.reshape(-1, *(1,) * (paid.ndim - 1)), np.float32(0), paid)
        return np.where(over, 0.0, (self.env.reward(self.state) - before).double().numpy())

    def observation(self) -> NDArray[np.int64]:
        # A copy: callers keep what they are given, and an observation may be a view of the state.
        return self.env.observe(self.state).numpy().copy()

    def info(self, *, stepped: bool) -> Info:
        """``action_mask`` where a token may be illegal; after a step ``reward_vector`` where there are components."""
        legal = self.env.legal(self.state)
        info = {} if legal is None else {"action_mask": legal.numpy()}
        return info | {"reward_vector": self._paid} if stepped and self._paid is not None else info

    def _vector(self) -> Any:
        return self.env.reward_vector(self.state).numpy() if self.env.reward_names else None


class TokenGymEnv(gymnasium.Env[NDArray[np.int64], np.int64]):
    """One episode of a TokenEnv as a ``gymnasium.Env``.

    ``reset(options={"split": "test", "prompt": 17})`` chooses the prompt; both are optional. The horizon is part of
    the task: an episode is terminated, never truncated.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  gymnasium declares it so

    def __init__(self, env: TokenEnv, render_mode: str | None = None) -> None:
        if render_mode not in (None, "ansi"):
            raise ToybedError(f"render_mode is {render_mode!r}; allowed: 'ansi' or None")
        self.render_mode = render_mode
        self.observation_space = MultiDiscrete(np.array(env.observation_sizes))
        self.action_space = Discrete(env.vocabulary)
        self._episodes = _Episodes(env)
        self._time = 0

    @property
    def token_env(self) -> TokenEnv:
        """The world itself, with its truth."""
        return self._episodes.env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], Info]:
        """Start an episode; the same seed gives the same prompt and the same later episodes."""
        super().reset(seed=seed)
        self._time = 0
        self._episodes.state = self._episodes.begin(1, self.np_random, options)
        return self._episodes.observation()[0], self._info(stepped=False)

    def step(self, action: np.int64) -> tuple[NDArray[np.int64], float, bool, bool, Info]:
        """Add one token to the response."""
        if self._time >= self.token_env.horizon:
            raise ToybedError("the episode is over; call reset")
        reward = self._episodes.advance(np.asarray([action]), np.zeros(1, dtype=bool))
        self._time += 1
        done = self._time >= self.token_env.horizon
        return self._episodes.observation()[0], float(reward[0]), done, False, self._info(stepped=True)

    def render(self) -> str | None:
        """One line about the state, with ``render_mode="ansi"``."""
        if self.render_mode is None:
            return None
        return self.token_env.describe(type(self._episodes.state)(*(part[0] for part in self._episodes.state)))

    def _info(self, *, stepped: bool) -> Info:
        return {name: value[0] for name, value in self._episodes.info(stepped=stepped).items()}


class TokenVectorEnv(VectorEnv[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]):
    """``num_envs`` episodes of a TokenEnv as one ``gymnasium.vector.VectorEnv``, without a loop over them.

    All episodes have the same horizon but may stand at different times. ``autoreset_mode`` is gymnasium's:
    ``NEXT_STEP`` (its default: the step after the last starts the next episode and ignores its action), or
    ``DISABLED`` (call ``reset``, with ``options={"reset_mask": ...}`` for some of them).
    """

    def __init__(
        self, env: TokenEnv, num_envs: int = 1, autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
    ) -> None:
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.SAME_STEP:
            raise ToybedError("autoreset_mode SAME_STEP is not offered; allowed: NEXT_STEP, DISABLED")
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode, "render_modes": []}
        self.single_observation_space = MultiDiscrete(np.array(env.observation_sizes))
        self.single_action_space = Discrete(env.vocabulary)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._episodes = _Episodes(env)
        self._time = np.zeros(num_envs, dtype=np.int64)
        self._options: dict[str, Any] = {}

    @property
    def token_env(self) -> TokenEnv:
        """The world itself, with its truth."""
        return self._episodes.env

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], Info]:
        """Start all episodes, or those of ``options["reset_mask"]``.

        One seed fixes all episodes, later ones too; options (``split``, ``prompt``) hold for later ones as well.
        """
        if isinstance(seed, list):
            raise ToybedError("one seed serves all episodes of this vector environment; give an int, not a list")
        super().reset(seed=seed)
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ToybedError(f"reset_mask must be a bool array of {self.num_envs}, got {mask.dtype} {mask.shape}")
        self._options = options
        self._begin(mask, options)
        return self._episodes.observation(), self._episodes.info(stepped=False)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """Add one token to every response."""
        over = self._time >= self.token_env.horizon
        if over.any() and self.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            raise ToybedError(f"episodes {np.flatnonzero(over).tolist()} are over; reset them with options reset_mask")
        reward = self._episodes.advance(np.asarray(actions), over)
        self._time += 1
        if over.any():
            self._begin(over, self._options)
        done = self._time >= self.token_env.horizon
        return self._episodes.observation(), reward, done, np.zeros_like(done), self._episodes.info(stepped=True)

    def _begin(self, mask: NDArray[np.bool_], options: dict[str, Any]) -> None:
        fresh = self._episodes.begin(self.num_envs, self.np_random, options)
        old = self._episodes.state
        self._episodes.state = fresh if old is None else _choose(torch.from_numpy(mask), fresh, old)
        self._time = np.where(mask, 0, self._time)


def _choose(mask: Tensor, new: Any, old: Any) -> Any:
    """The state whose rows come from ``new`` where the mask is set."""
    parts = zip(new, old, strict=True)
    return type(new)(*(torch.where(mask.view(-1, *(1,) * (a.ndim - 1)), a, b) for a, b in parts))


def make_gym_env(world: str, render_mode: str | None = None, **knobs: Any) -> TokenGymEnv:
    """gymnasium's entry point: ``gymnasium.make("toybed.envs:toybed/ChainReach-v0", modulus=61)``."""
    from toybed.envs import make

    return TokenGymEnv(make(world, **knobs), render_mode)


def make_gym_vector_env(
    world: str, num_envs: int = 1, autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP, **knobs: Any
) -> TokenVectorEnv:
    """gymnasium's vector entry point: ``gymnasium.make_vec("toybed.envs:toybed/ChainReach-v0", num_envs=64)``."""
    from toybed.envs import make

    return TokenVectorEnv(make(world, **knobs), num_envs, autoreset_mode)
