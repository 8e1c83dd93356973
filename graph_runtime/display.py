"""Events as a person reads them on a terminal: one line per node, with steps, loss, speed and time left."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from graph_runtime import events as ev
from graph_runtime.errors import Problem, printable

MARKS = {"executed": "[green]✓[/]", "cached": "[cyan]≡[/]", "failed": "[red]✗[/]", "skipped": "[dim]·[/]"}


class Display:
    """Live progress of a run; without a terminal, one line per finished node."""

    def __init__(self, console: Console, *, resumable: bool = True) -> None:
        self._console = console
        self._resumable = resumable
        self._bars = Progress(
            TextColumn("  [bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[detail]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._details: dict[str, str] = {}
        self._first: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> "Display":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def listen(self, event: ev.Event) -> None:
        """Show one event."""
        match event:
            case ev.NodeProgress():
                self._progress(event)
            case ev.NodeMetric() if "loss" in event.values:
                self._details[event.node] = f"loss {event.values['loss']:.4f}"
            case ev.NodeMessage():
                color = "yellow" if event.level == "warning" else "dim"
                self._print(f"  [{color}]{event.node}:[/] ", event.text)
            case ev.NodeFinished():
                self._end(event.node)
                time_text = "from the cache" if event.state == "cached" else f"{event.seconds:.1f} s"
                self._print(f"{MARKS[event.state]} {event.node} [dim]{time_text}[/]")
            case ev.NodeFailed():
                self._end(event.node)
                self._print(f"{MARKS['failed']} ", str(Problem(event.message, event.node, event.field, event.remedy)))
            case ev.RunFinished():
                self._finish(event)
            case _:
                pass

    def _print(self, markup: str, plain: str = "") -> None:
        """Print our own markup, then text from outside, in which brackets mean nothing."""
        self._console.print(Text.from_markup(markup).append(printable(plain)), highlight=False, soft_wrap=True)

    def _progress(self, event: ev.NodeProgress) -> None:
        if event.node not in self._tasks:
            self._tasks[event.node] = self._bars.add_task(event.node, total=event.total, detail="")
            self._first[event.node] = (time.monotonic(), event.step)
        began, first = self._first[event.node]
        elapsed = time.monotonic() - began
        speed = f"{(event.step - first) / elapsed:.1f} steps/s" if elapsed > 0.5 else ""
        detail = " ".join(part for part in (self._details.get(event.node, ""), speed) if part)
        self._bars.update(self._tasks[event.node], completed=event.step, total=event.total, detail=detail)

    def _end(self, node: str) -> None:
        if node in self._tasks:
            self._bars.remove_task(self._tasks.pop(node))

    def _finish(self, event: ev.RunFinished) -> None:
        skipped: dict[str, list[str]] = {}
        for id, outcome in event.nodes.items():
            if outcome.state == "skipped":
                skipped.setdefault(outcome.reason, []).append(id)
        for reason, ids in skipped.items():
            because = f" ({reason})" if reason else ""
            self._print(f"{MARKS['skipped']} ", f"not run: {', '.join(ids[:20])}{because}")
        for artifact in event.artifacts:
            self._print("[green]→[/] ", f"{artifact.path} ({artifact.bytes / 1e6:.2f} MB)")
        if event.status == "interrupted":
            again = "Run the same command again to go on from here." if self._resumable else ""
            self._print(f"[yellow]Interrupted.[/] {again}")
