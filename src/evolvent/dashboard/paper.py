"""Turns a template and what it says into a page: everything is escaped, and nothing hidden stays hidden."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from evolvent.dashboard.assets import asset
from evolvent.dashboard.bars import draw_axis, draw_interval, draw_spark, write_estimate
from evolvent.dashboard.prose import prose, talk
from evolvent.dashboard.scale import write_number
from evolvent.dashboard.wording import age, counted, cut, line, read_stamp, status_of, visible

HOME = Path(__file__).parent / "templates"


def render(template: str, said: Mapping[str, Any], now: datetime | None = None) -> str:
    """A page, or a part of one."""
    moment = now or datetime.now(UTC)
    return visible(_environment().get_template(template).render(said, when=functools.partial(_when, moment)))


@functools.cache
def _environment() -> Environment:
    made = Environment(loader=FileSystemLoader(HOME), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "counted": counted,
        "cut": cut,
        "line": line,
        "number": write_number,
        "prose": prose,
        "talk": talk,
        "short": lambda sha: str(sha or "")[:7],
        "status": status_of,
    }
    made.globals |= {"asset": asset, "axis": draw_axis, "bars": draw_interval, "spark": draw_spark}
    made.globals |= {"estimate": write_estimate}
    return made


def _when(now: datetime, stamp: str | None) -> Markup:
    """A moment as its age, with the moment itself behind it."""
    then = read_stamp(stamp)
    if then is None:
        return Markup("") + age(stamp, now)
    full = then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(then.isoformat(), full, escape(age(stamp, now)))
