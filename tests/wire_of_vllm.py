"""vLLM's training endpoints over a policy of ours: the same wire, other weights behind it, no vLLM needed."""

from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from safetensors.torch import load_file

from evolvent.records import Prompt, Sampling


def make_wire(policy, *, logprobs_mode="processed_logprobs", dtype="torch.float32"):
    """The app; `app.state.skips` names what it only pretends to do, `app.state.heard` what it was told."""
    app = FastAPI()
    state = app.state
    state.policy, state.version, state.heard, state.skips, state.paused = policy, "default", [], set(), False

    @app.get("/server_info")
    def info():
        config = {"dtype": dtype, "max_model_len": policy.max_context, "logprobs_mode": logprobs_mode}
        return {"vllm_config": {"model_config": config}}

    @app.post("/pause")
    def pause():
        state.paused = True
        return {"status": "paused"}

    @app.post("/resume")
    def resume():
        state.paused = False
        return {"status": "resumed"}

    @app.post("/collective_rpc")
    def reload(words: dict):
        assert words["method"] == "reload_weights" and state.paused, words
        state.heard.append(words["kwargs"]["weights_path"])
        if "reload" not in state.skips:
            policy.model.load_state_dict(load_file(Path(words["kwargs"]["weights_path"]) / "model.safetensors"))
            policy.forget()
        return {"results": [None]}

    @app.post("/reset_prefix_cache")
    def reset():
        return {"success": "reset" not in state.skips}

    @app.post("/update_weight_version")
    def mark(words: dict):
        state.version = words["new_version"]
        return {"success": True}

    @app.post("/inference/v1/generate")
    def generate(words: dict):
        state.heard.append(words)
        if state.skips & {"dies"}:
            raise HTTPException(500, "EngineDeadError: the engine is dead")
        return JSONResponse(_answer(state, words["token_ids"], words["sampling_params"]))

    return app


def _answer(state, tokens, told):
    if told.get("prompt_logprobs") is not None:
        scored = _score(state.policy, tokens)
        return {"prompt_logprobs": [None, *({str(t): {"logprob": p}} for t, p in zip(tokens[1:], scored, strict=True))]}
    how = Sampling(told["max_tokens"], told["temperature"], told["top_p"], told["top_k"], told["seed"])
    state.policy.renderer.stop_ids = frozenset(told["stop_token_ids"])
    prompt = Prompt((), tokens=tuple(tokens), stops=tuple(told.get("stop", ())))
    [made] = state.policy.sample_now([prompt], how)
    logprobs = made.model_logprobs if how.temperature == 0 else made.sampled_logprobs
    met = next((s for s in prompt.stops if s in state.policy.renderer.text(made.tokens)), None)
    return {
        "choices": [
            {
                "token_ids": list(made.tokens),
                "logprobs": {
                    "content": [{"token_id": t, "logprob": p} for t, p in zip(made.tokens, logprobs, strict=True)]
                },
                "stop_reason": met,
                "weight_versions": [{"version": state.version, "start": 0, "end": len(made.tokens)}],
            }
        ]
    }


def _score(policy, tokens):
    import torch

    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    return logits.gather(-1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()
