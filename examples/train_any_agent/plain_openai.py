"""An agent on the plain openai client: it asks, runs the calculator, asks again, and answers.

It knows a base URL and nothing else. As a function, `plain_openai.py:agent`, it shares a process with the trainer; as a
script, `plain_openai.py`, it is started for each task, with the address in OPENAI_BASE_URL and the task on stdin.
"""

import ast
import asyncio
import json
import operator
import os
import sys

import openai

MAX_TURNS = 8
TOOL = {
    "type": "function",
    "function": {
        "name": "calc",
        "description": "Evaluate an arithmetic expression.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.USub: operator.neg}


async def agent(task, base_url):
    messages = [{"role": "user", "content": task["question"]}]
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
        for _ in range(MAX_TURNS):
            answer = await client.chat.completions.create(model="any", messages=messages, tools=[TOOL])
            message = answer.choices[0].message
            if not message.tool_calls:
                return message.content
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                messages.append({"role": "tool", "tool_call_id": call.id, "content": run(call.function.arguments)})
    return ""


def run(arguments):
    try:
        return str(value(ast.parse(json.loads(arguments)["expression"], mode="eval").body))
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        return f"error: {error}"


def value(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value(node.left), value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value(node.operand))
    raise ValueError("only whole numbers, + - * and brackets")


if __name__ == "__main__":
    print(asyncio.run(agent(json.loads(sys.stdin.readline()), os.environ["OPENAI_BASE_URL"])))
