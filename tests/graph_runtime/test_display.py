"""What a person reads on a terminal."""

import io

from rich.console import Console

from graph_runtime import events as ev
from graph_runtime.display import Display


def shown(*events: ev.Event) -> list[str]:
    text = io.StringIO()
    with Display(Console(file=text, width=100)) as display:
        for event in events:
            display.listen(event)
    return [line.strip() for line in text.getvalue().splitlines() if line.strip()]


def test_every_state_has_its_line() -> None:
    outcome = {"a": ev.NodeOutcome(state="executed"), "c": ev.NodeOutcome(state="skipped")}
    artifact = ev.PublishedArtifact(path="out/x [1].png", sha256="", bytes=2_000_000, node="a")
    lines = shown(
        ev.NodeStarted(node="a", node_type="T"),
        ev.NodeProgress(node="a", step=1, total=2),
        ev.NodeMetric(node="a", step=1, values={"loss": 0.5}),
        ev.NodeMessage(node="a", level="warning", text="[red]brackets[/red] are \u202etext\x1b"),
        ev.NodeFinished(node="a", state="executed", seconds=1.25),
        ev.NodeFinished(node="b", state="cached", seconds=0),
        ev.NodeFailed(node="c", field="folder", message="is missing.", remedy="Make it."),
        ev.RunFinished(status="interrupted", nodes=outcome, artifacts=[artifact]),
    )
    assert lines == [
        "a: [red]brackets[/red] are �text�",
        "✓ a 1.2 s",
        "≡ b from the cache",
        "✗ c.folder: is missing. Make it.",
        "· not run: c",
        "→ out/x [1].png (2.00 MB)",
        "Interrupted. Run the same command again to go on from here.",
    ]


def test_a_live_bar_tells_loss_and_speed() -> None:
    text = io.StringIO()
    with Display(Console(file=text, width=100, force_terminal=True, color_system=None)) as display:
        display.listen(ev.NodeProgress(node="train", step=1, total=50))
        display.listen(ev.NodeMetric(node="train", step=2, values={"loss": 0.25}))
        display.listen(ev.NodeProgress(node="train", step=2, total=50))
        display._bars.refresh()
        assert "2/50 loss 0.2500" in text.getvalue()
