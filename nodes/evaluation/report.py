"""The comparison as a page and as text."""

import base64
from collections.abc import Callable, Sequence
from html import escape

from nodes.evaluation.method_facts import MethodFacts

Column = tuple[str, Callable[[MethodFacts], str]]


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "" if value is None else form.format(value)


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.1f} KB"


COLUMNS: tuple[Column, ...] = (
    ("method", lambda fact: fact.method),
    ("trained", lambda fact: fact.trained),
    ("parameters", lambda fact: _number(fact.parameters, "{:,}")),
    ("file", lambda fact: _bytes(fact.file_bytes)),
    ("steps", lambda fact: _number(fact.steps, "{:,}")),
    ("seconds", lambda fact: _number(fact.seconds, "{:.0f}")),
    ("memory", lambda fact: _bytes(fact.peak_memory)),
    ("CLIP-I", lambda fact: _number(fact.clip_i)),
    ("CLIP-T", lambda fact: _number(fact.clip_t)),
    ("drift", lambda fact: _number(fact.drift)),
)
EXPLAINED = (
    "CLIP-I: likeness to the pictures that were taught, higher is better. CLIP-T: how well the prompt is shown, higher is "
    "better. Drift: how far pictures of unrelated prompts have moved from the untrained model's, lower is better. File: what "
    "other programs load, in half precision; words and hypernetworks in full. Seconds: of the training's steps. Memory: the most "
    "that the whole process used while it trained, with what earlier steps had left there; on a GPU, what its tensors used."
)


def markdown_report(facts: Sequence[MethodFacts], picture: str) -> str:
    """Return the table in Markdown, with a link to the picture beside it."""
    rows = [[name for name, _ in COLUMNS], ["---"] * len(COLUMNS)]
    rows += [[show(fact).replace("|", "\\|") for _, show in COLUMNS] for fact in facts]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"# Methods compared\n\n{table}\n\n{EXPLAINED}\n\n![Pictures of each method]({picture})\n"


def html_report(facts: Sequence[MethodFacts], picture: bytes, provenance: str) -> str:
    """Return one page that needs nothing else; it carries the workflow that made it."""
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(show(fact))}</td>' for _, show in COLUMNS)}</tr>" for fact in facts)
    image = base64.b64encode(picture).decode()
    carried = provenance.replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Methods compared</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1f24 }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #d8dce2; white-space: nowrap }}
th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; white-space: normal }}
img {{ max-width: 100%; margin-top: 1.5rem }}
p {{ color: #5b6270 }}
.table {{ overflow-x: auto }}
</style>
</head>
<body>
<h1>Methods compared</h1>
<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p>{escape(EXPLAINED)}</p>
<img src="data:image/png;base64,{image}" alt="Pictures of each method, one row each">
<script type="application/json" id="latentloom">{carried}</script>
</body>
</html>
"""
