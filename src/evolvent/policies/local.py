"""A policy on weights of our own: sampled in groups, trained in place, saved as a Hugging Face folder."""

# B rows, T tokens, V vocabulary, N flat positions, M predictions

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolvent.errors import BadInput
from evolvent.models import fast
from evolvent.models.layout import Layout, lay_flat, lay_padded
from evolvent.models.render import Renderer
from evolvent.policies.decode import Draws, Engine, GenericEngine
from evolvent.policies.fast_decode import FastEngine
from evolvent.policies.flow import FastFlow
from evolvent.policies.policy import Flow, Watch
from evolvent.policies.scoring import Scored, score_rows
from evolvent.policies.transcript import Stops, renumbered
from evolvent.records import Completion, Finish, Prompt, Sampling
from evolvent.seeds import uniforms

MAX_ROWS = 1024  # rows decoded together; more are split, so that memory stays bounded


class LocalPolicy:
    """A transformers causal LM with its tokenizer; `version` counts the updates of the weights."""

    def __init__(self, model: Any, tokenizer: Any, name: str = "agent", engine: str = "auto") -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.renderer = Renderer(tokenizer)
        self.version = 0
        self.max_context = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
        self.vocab_size = int(model.get_input_embeddings().num_embeddings)
        self.engine = self._choose_engine(engine)
        model.eval()

    def _choose_engine(self, engine: str) -> Engine:
        if engine not in ("auto", "fast", "generic"):
            raise BadInput("unknown engine", got=engine, wanted="auto, fast or generic")
        if engine == "fast" and not fast.supports(self.model):
            raise BadInput(
                f"no fast path for {type(self.model).__name__}", wanted="Qwen3 or Llama", cure="engine=generic"
            )
        if engine != "generic" and fast.supports(self.model):
            return FastEngine(self.model, self.pad_id)
        return GenericEngine(self.model, self.pad_id)

    # ------------------------------------------------------------ sampling

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt; its random stream is (how.seed, prompt.stream), whatever else is in the batch."""
        return self.sample_now(prompts, how)

    def sample_now(self, prompts: Sequence[Prompt], how: Sampling, watch: Watch | None = None) -> list[Completion]:
        """The same without waiting, for callers that hold the interpreter anyway; `watch` hears every step."""
        made: list[Completion] = []
        for start in range(0, len(prompts), MAX_ROWS):
            hears = watch if watch is None or not start else renumbered(watch, start)
            made += self._sample_rows(prompts[start : start + MAX_ROWS], how, hears)
        return made

    def _sample_rows(self, prompts: Sequence[Prompt], how: Sampling, watch: Watch | None) -> list[Completion]:
        call_ids = self.open_calls(prompts, how)
        longest = max(p.room(how) for p in prompts)
        draws = np.stack([uniforms(how.seed, *p.stream, num=longest) for p in prompts])
        stops = Stops(prompts, self.renderer.text, watch) if any(p.stops for p in prompts) else None
        rows = self.engine.decode(prompts, call_ids, draws, how, self.renderer.stop_ids, stops or watch)
        found = stops.found if stops else ()
        made = zip(prompts, call_ids, rows, strict=True)
        return [self.completion(p, c, row, i in found, self.engine.name) for i, (p, c, row) in enumerate(made)]

    def flow(self) -> Flow | None:
        """Sampling in which rows begin and end one by one; the fast engine alone can."""
        return FastFlow(self, self.engine) if isinstance(self.engine, FastEngine) else None

    def open_calls(self, prompts: Sequence[Prompt], how: Sampling) -> list[str]:
        """A name for each call that can be answered so; BadInput for one that cannot."""
        _check_sampling(how)
        for prompt in prompts:
            self._check(prompt, how)
        return [f"{'/'.join(map(str, p.stream)) or i}@{self.version}" for i, p in enumerate(prompts)]

    def _check(self, prompt: Prompt, how: Sampling) -> None:
        if not prompt.tokens or prompt.room(how) < 1:
            raise BadInput(
                "a local policy needs token ids, and room to speak",
                where=f"policy {self.name!r}",
                got=f"{len(prompt.tokens or ())} tokens and room for {prompt.room(how)}",
                wanted="at least one of each",
                cure="render the messages first: policy.renderer.open(messages, tools)",
            )
        if len(prompt.tokens) + prompt.room(how) > self.max_context:
            raise BadInput(
                "the prompt is longer than the context of the model",
                where=f"policy {self.name!r}",
                got=f"{len(prompt.tokens)} tokens and {prompt.room(how)} to come",
                wanted=f"at most {self.max_context} in all",
                cure="shorten the prompt, lower budgets.turn_tokens, or use a model with a longer context",
            )

    def completion(self, prompt: Prompt, call_id: str, row: Draws, met_stop: bool, route: str) -> Completion:
        """What was drawn for a prompt, read as a message."""
        message = self.renderer.parse(row.tokens, prompt.tools)
        ended = bool(row.tokens) and row.tokens[-1] in self.renderer.stop_ids
        finish = Finish.STOP if met_stop or ended else Finish.LENGTH
        finish = Finish.CALL if message.calls and ended and not met_stop else finish
        return Completion(
            tokens=tuple(row.tokens),
            text=message.text,
            sampled_logprobs=tuple(row.sampled),
            model_logprobs=tuple(row.model),
            version=self.version,
            finish=finish,
            call_id=call_id,
            message=message,
            prompt_tokens=len(prompt.tokens or ()),
            route=route,
        )

    def forget(self) -> None:
        """Drop cached context; called when a batch of episodes is over and after every update."""
        self.engine.forget()

    # ------------------------------------------------------------ training

    @property
    def shares_starts(self) -> bool:
        """Whether rows that begin alike cost less together: then they should meet in a micro-batch."""
        return isinstance(self.engine, FastEngine)

    def lay_out(self, token_BT: np.ndarray, mask_BT: np.ndarray) -> Layout:
        """Rows (int64, padded at the end) in the form that `logprobs` reads, to predict the tokens where `mask_BT`.

        The mask is False at position 0, which nothing predicts, and in the padding.
        """
        lay = lay_flat if self.shares_starts else lay_padded
        return lay(token_BT, mask_BT, self.pad_id, self.model.device)

    def logprobs(self, layout: Layout, *, entropy_grad: bool = False, mixed: float = 0.0) -> tuple[Tensor, Tensor]:
        """Log-probability (temperature 1) and entropy of the M predicted tokens, rows in order.

        The first has a gradient, the second where `entropy_grad` asks for it. With `mixed` above 0 predicted tokens are
        read as a mixture of themselves and what the policy would have said, which takes a second forward pass.
        """
        x_NW = self._mix(layout, mixed) if mixed else None
        if isinstance(self.engine, FastEngine):
            weights = self.engine.weights
            hidden_MW = self._hidden(layout, x_NW)
            return fast.score(weights, hidden_MW, layout.target_M, entropy_grad)
        return fast.score_logits(self._logits(layout, x_NW), layout.target_M, entropy_grad)

    def guesses(self, layout: Layout) -> Tensor:
        """The likeliest token of each of the M predictions, without a gradient."""
        with torch.no_grad():
            if isinstance(self.engine, FastEngine):
                return fast.likeliest(self.engine.weights, self._hidden(layout))
            return self._logits(layout).argmax(-1)

    def logits(self, layout: Layout, max_rows: int) -> Iterator[Tensor]:
        """Scores (rows, V) of the M predictions, at most `max_rows` of them at a time."""
        if isinstance(self.engine, FastEngine):
            hidden_MW = self._hidden(layout)
            for at in range(0, len(hidden_MW), max_rows):
                yield fast.logits(self.engine.weights, hidden_MW[at : at + max_rows])
        else:
            yield self._logits(layout)

    def score_now(self, rows: Sequence[Sequence[int]], num_top: int) -> list[Scored]:
        """What it thinks of given tokens, row by row, with the `num_top` likeliest in every place."""
        return score_rows(self, rows, num_top)

    def _mix(self, layout: Layout, share: float) -> Tensor:
        """What each flat token is read as (N, W): (1 - share) E(token) + share E(guess) where it was predicted."""
        guess_N = layout.token_N.clone()
        is_read_M = layout.own_M >= 0
        guess_N[layout.own_M[is_read_M]] = self.guesses(layout)[is_read_M]
        return torch.lerp(self._embed(layout.token_N), self._embed(guess_N), share)

    def _embed(self, token_N: Tensor) -> Tensor:
        if isinstance(self.engine, FastEngine):
            return fast.embed(self.engine.weights, token_N)
        embedded: Tensor = self.model.get_input_embeddings()(token_N)
        return embedded

    def _hidden(self, layout: Layout, x_NW: Tensor | None = None) -> Tensor:
        """Hidden states (M, W) where predictions are read, of the layout's tokens or of what stands in their place."""
        assert isinstance(self.engine, FastEngine)
        weights = self.engine.weights
        x_NW = fast.embed(weights, layout.token_N) if x_NW is None else x_NW
        return fast.flat_hidden_of(weights, x_NW, layout.position_N, layout.blocks).index_select(0, layout.read_M)

    def _logits(self, layout: Layout, x_NW: Tensor | None = None) -> Tensor:
        """The same as scores (M, V), by the model's own forward pass."""
        rows = layout.blocks[0].rows
        if x_NW is None:
            given = {"input_ids": layout.token_N.view(rows, -1)}
        else:
            given = {"inputs_embeds": x_NW.view(rows, -1, x_NW.shape[-1])}
        with _recomputing(self.model):
            logits_BTV: Tensor = self.model(**given, use_cache=False).logits
        return logits_BTV.flatten(0, 1).index_select(0, layout.read_M)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The weights that an optimizer may change."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The same, with their names."""
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]

    def updated(self) -> None:
        """Say that the weights have changed: the version grows and cached context is dropped."""
        self.version += 1
        self.forget()

    def copy(self) -> LocalPolicy:
        """The same weights apart, for a reference that does not learn."""
        twin = LocalPolicy(copy.deepcopy(self.model), self.tokenizer, f"{self.name}-reference", self.engine.name)
        for parameter in twin.model.parameters():
            parameter.requires_grad_(False)
        twin.version = self.version
        return twin

    def take_weights(self, other: LocalPolicy) -> None:
        """Become a copy of another policy of the same shape."""
        try:
            self.model.load_state_dict(other.model.state_dict())
        except RuntimeError as error:
            raise BadInput(
                f"policy {self.name!r} cannot take the weights of {other.name!r}",
                where="copies",
                got=str(error).splitlines()[0],
                cure="give both the same model",
            ) from error
        self.forget()

    def load_weights(self, folder: Path) -> None:
        """Put the weights of a saved folder into this model, bit for bit."""
        from evolvent.models import checkpoints

        if hasattr(self.model, "peft_config"):
            raise BadInput("adapters are restored from a run's state, not from a merged folder", where=str(folder))
        saved = checkpoints.load(str(folder), dtype=str(self.model.dtype).removeprefix("torch."), device="cpu")[0]
        self.model.load_state_dict(saved.state_dict())
        self.forget()

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder that plain transformers loads."""
        from evolvent.models import checkpoints

        checkpoints.save(self.model, self.tokenizer, folder)


def _check_sampling(how: Sampling) -> None:
    fits = {
        "temperature": how.temperature >= 0,
        "top_p": 0 < how.top_p <= 1,
        "top_k": how.top_k >= 0,
        "max_tokens": how.max_tokens >= 1,
    }
    for name, fit in fits.items():
        if not fit:
            raise BadInput(
                "nothing can be sampled so",
                where=name,
                got=getattr(how, name),
                wanted="temperature >= 0, top_p in (0, 1], top_k >= 0 (0: off), max_tokens >= 1",
            )


@contextmanager
def _recomputing(model: Any) -> Iterator[None]:
    """Let layers recompute where that was asked for: transformers does so in training mode only, dropout apart."""
    layers = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False) and not m.training]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
