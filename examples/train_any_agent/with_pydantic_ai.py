"""An agent on pydantic-ai, as its tutorial writes it; `pip install "pydantic-ai-slim[openai]"`.

The framework keeps the conversation and runs the tool. All that ties it to a trainer is the base URL of its provider.
"""

import asyncio
import json
import os
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def calc(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    if set(expression) - set("0123456789+-*() ") or "**" in expression or len(expression) > 80:
        return "error: only whole numbers, + - * and brackets"
    try:
        return str(eval(expression, {"__builtins__": {}}))
    except (SyntaxError, TypeError, ValueError) as error:
        return f"error: {error}"


async def agent(task, base_url):
    model = OpenAIChatModel("any", provider=OpenAIProvider(base_url=base_url, api_key="none"))
    result = await Agent(model, tools=[calc]).run(task["question"])
    return result.output


if __name__ == "__main__":
    print(asyncio.run(agent(json.loads(sys.stdin.readline()), os.environ["OPENAI_BASE_URL"])))
