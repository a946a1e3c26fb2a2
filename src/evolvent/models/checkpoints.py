"""A model and its tokenizer to a Hugging Face folder and back, whole or not at all, and proven after writing."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput, StoreError
from evolvent.models.folders import DIGESTS, SAVE_AGAIN, check_folder, digests, read_json
from evolvent.models.variants import MODEL_TYPE

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

ADAPTER = "adapter"


def load(
    name_or_path: str, dtype: str = "float32", device: str = "auto", *, trust_code: bool = False
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a folder or a hub id; code in the folder runs only if trusted."""
    from evolvent.models.devices import resolve_device, resolve_dtype

    folder = Path(name_or_path).expanduser()
    place = resolve_device(device)
    how = {"dtype": resolve_dtype(dtype, place), "use_safetensors": True, "output_loading_info": True}
    if folder.is_dir():
        check_folder(folder)
        model, info, tokenizer = _load_folder(folder, how, trust_code)
    else:
        model, info, tokenizer = _load_hub(name_or_path, how, trust_code)
    _check_loaded(name_or_path, model, info, tokenizer)
    return model.to(place).eval(), tokenizer


def save(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path | str,
    *,
    extra: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a folder that plain transformers loads, compare every tensor with the file, then put it in place.

    An adapted model is written merged, with the adapter alone in `adapter/`; `extra` adds files of tensors.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    fresh = folder.with_name(f".{folder.name}.writing")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        whole = model
        if hasattr(model, "peft_config"):
            model.save_pretrained(fresh / ADAPTER)
            whole = copy.deepcopy(model).merge_and_unload()
        with _quiet():
            whole.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
        for name, tensors in (extra or {}).items():
            save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, fresh / name)
        verify(whole, fresh)
        (fresh / DIGESTS).write_text(json.dumps(digests(fresh), indent=1), "utf-8")
        _put_in_place(fresh, folder)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            "the checkpoint could not be written; the last one is untouched",
            where=str(folder),
            got=str(error),
            cure="free some space or choose another folder with out=",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def verify(model: Any, folder: Path) -> None:
    """Compare every tensor of the model with the folder's files, bit by bit; tied weights are stored once."""
    from safetensors import safe_open

    state = dict(model.state_dict())
    seen: set[int] = set()
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(str(file), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - safe_open is not a mapping
                if name not in state:
                    raise _differs(file, name, "not in the model")
                if not _same_bits(state[name], stored.get_tensor(name)):
                    raise _differs(file, name, "other numbers than in memory")
                seen.add(state[name].data_ptr())
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen and tensor.numel():
            raise _differs(folder, name, "not written")


def _load_folder(folder: Path, how: Mapping[str, Any], trust_code: bool) -> tuple[Any, Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = read_json(folder / "config.json")
    maker: Any = AutoModelForCausalLM
    if config.get("model_type") == MODEL_TYPE and not trust_code:
        # our own class stands here already, so the copy beside the weights need not run
        from evolvent.models.modeling_evolvent import EvolventForCausalLM as maker  # noqa: N813
    elif "auto_map" in config and not trust_code:
        raise BadInput(
            "this model brings its own code",
            where=str(folder / "config.json"),
            got=f"auto_map {config['auto_map']}",
            cure="read that code, then load with trust_code=True",
        )
    extra = {"trust_remote_code": True} if trust_code else {}
    try:
        with _quiet():
            model, info = maker.from_pretrained(folder, **how, **extra)
            return model, info, AutoTokenizer.from_pretrained(folder, **extra)
    except (OSError, ValueError, ImportError, AttributeError, KeyError, RuntimeError) as error:
        raise BadInput(
            "the checkpoint cannot be loaded",
            where=str(folder),
            got=f"{type(error).__name__}: {str(error).strip()[:300]}",
            wanted="a causal language model in Hugging Face's format, weights as safetensors",
            cure="check the folder; a part of your own must be importable, or load with trust_code=True",
        ) from error


def _load_hub(name: str, how: Mapping[str, Any], trust_code: bool) -> tuple[Any, Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if name.startswith((".", "/", "~", "runs/")) or name.count("/") != 1:
        raise BadInput(
            f"no such model: {name}",
            where="model",
            got="no folder of this name here",
            wanted="nano, a folder with config.json, owner/name of a model on the hub, or a URL that ends in /v1",
            cure="check the path",
        )
    extra = {"trust_remote_code": True} if trust_code else {}
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, **extra)
            model, info = AutoModelForCausalLM.from_pretrained(name, **how, **extra)
            return model, info, tokenizer
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise BadInput(
            f"{name} is neither a folder here nor a model that the hub gave us",
            where=f"model={name}",
            got=f"{type(error).__name__}: {str(error).strip()[:200]}",
            wanted="a folder that exists, or owner/name of a public model while the hub can be reached",
            cure=f"without a network give the path of a saved folder, as in model=./{name.rpartition('/')[2]}",
        ) from error


def _check_loaded(name: str, model: Any, info: Mapping[str, Any], tokenizer: Any) -> None:
    absent = sorted(map(str, (*info.get("missing_keys", ()), *info.get("mismatched_keys", ()))))
    if absent:
        raise BadInput(
            "the checkpoint lacks weights that the model needs",
            where=name,
            got=f"{len(absent)} absent or of another shape: {', '.join(absent[:4])}",
            wanted="every weight of the configuration",
            cure=SAVE_AGAIN,
        )
    if not tokenizer.chat_template:
        raise BadInput(
            "the model has no chat template, so messages cannot be turned into tokens",
            where=name,
            got="tokenizer.chat_template is empty",
            wanted="a Jinja template in chat_template.jinja or tokenizer_config.json",
            cure="take the instruction-tuned model, or set tokenizer.chat_template and save the tokenizer there",
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise BadInput(
            "the tokenizer knows more tokens than the model has vectors for",
            where=name,
            got=f"{len(tokenizer)} tokens, {rows} vectors",
            cure="model.resize_token_embeddings(len(tokenizer)), then save both",
        )


def _same_bits(left: Tensor, right: Tensor) -> bool:
    import torch

    left = left.detach().cpu().contiguous()
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def _differs(file: Path, name: str, got: str) -> StoreError:
    return StoreError(
        f"the checkpoint that was written is not the model: {name}",
        where=str(file),
        got=got,
        wanted="the same bits as in memory",
        cure="check the disk; nothing was replaced, the last checkpoint is untouched",
    )


def _put_in_place(fresh: Path, folder: Path) -> None:
    # a folder cannot be replaced in one move: the former one steps aside first and comes back if the second move fails
    former = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.rename(former)
    try:
        os.rename(fresh, folder)  # noqa: PTH104 - Path.rename would return a new path that nobody needs
    except OSError:
        if former.exists():
            former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # transformers draws a progress bar for each folder; the switch is global, so it is put back
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
