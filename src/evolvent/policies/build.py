"""From what a plan calls a model to a policy: a dial, a saved folder, a hub id, a URL, or a policy as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urldefrag

from evolvent.errors import BadInput
from evolvent.policies.endpoint import Endpoint
from evolvent.policies.policy import Policy
from evolvent.policies.sampler import SamplerPlan


def build_policy(
    model: Any,
    *,
    name: str,
    seed: int,
    texts: Iterable[str] = (),
    dtype: str = "float32",
    device: str = "auto",
    adapter: str | None = None,
    engine: str = "auto",
    gradient_checkpointing: bool = False,
    sampler: SamplerPlan | None = None,
) -> Policy:
    """A policy called `name`; `texts` teach the tokenizer of a new model that wants a learned vocabulary.

    With a `sampler` its weights are trained here and sampled by another engine.
    """
    from evolvent.models.spec import NANO, ModelSpec

    if sampler is not None and isinstance(model, str) and model.startswith(("http://", "https://")):
        raise BadInput("an endpoint samples itself", where="sampler", got=model, wanted="weights", cure="sampler=null")
    if isinstance(model, str) and model.startswith(("http://", "https://")):
        return endpoint_at(model, name)
    if not isinstance(model, str | ModelSpec):
        if isinstance(model, Policy):
            return model
        raise BadInput("not a model", where="model", got=repr(model)[:80], wanted="nano, a folder, a hub id or a URL")
    from evolvent.models import adapters, checkpoints, devices
    from evolvent.models.spec import build
    from evolvent.models.tokenizer import build_tokenizer
    from evolvent.policies.elsewhere import SampledElsewhere
    from evolvent.policies.local import LocalPolicy

    if isinstance(model, ModelSpec) or model == "nano":
        spec = model if isinstance(model, ModelSpec) else NANO
        tokenizer = build_tokenizer(spec.vocab_size, texts)
        weights = build(spec, tokenizer, seed)
        place = devices.resolve_device(device)
        weights = weights.to(device=place, dtype=devices.resolve_dtype(dtype, place))
    else:
        weights, tokenizer = checkpoints.load(model, dtype=dtype, device=device)
    if adapter is not None:
        if adapter != "lora":
            raise BadInput("unknown adapter", where="adapter", got=adapter, wanted="lora, or none")
        weights = adapters.attach_lora(weights, seed=seed)
    if gradient_checkpointing:
        devices.checkpoint_gradients(weights)
    policy = LocalPolicy(weights, tokenizer, name=name, engine=engine)
    return policy if sampler is None else SampledElsewhere(policy, sampler)


def endpoint_at(url: str, name: str) -> Endpoint:
    """An endpoint from a URL; `#model` names the model, otherwise the server's first one is taken."""
    base, model = urldefrag(url)
    if not model:
        import httpx

        try:
            listed = httpx.get(f"{base.rstrip('/')}/models", timeout=10).raise_for_status().json()["data"]
            model = str(listed[0]["id"])
        except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
            raise BadInput(
                "the server does not say which models it has",
                where=f"{base}/models",
                got=f"{type(error).__name__}: {error}",
                cure=f"name the model: {base}#MODEL; the URL ends in /v1",
            ) from error
    return Endpoint(url=base, model=model, name=name)
