"""The engines that a plan can name as its `sampler`."""

from evolvent.policies.sampler import Bounds
from evolvent.policies.twin import Twin
from evolvent.policies.vllm import Vllm
from evolvent.policies.vllm_server import VllmServer

__all__ = ["Bounds", "Twin", "Vllm", "VllmServer"]
