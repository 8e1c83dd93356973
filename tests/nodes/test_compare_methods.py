"""CompareMethods: every number of the report can be checked by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from graph_runtime.context import RunContext
from graph_runtime.discovery import load_palette
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.results import ImageSet
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.evaluation.compare_methods import CompareMethods
from nodes.evaluation.judge import Judge
from nodes.evaluation.method_facts import METHODS
from nodes.sampling.sample_images import SampleImages
from tests.models import BUNDLED, fresh_model
from tests.nodes.node_runner import NodeRunner, images
from tests.nodes.test_methods import Setting, fine_tune, textual_inversion


class Case:
    """Three models, their pictures, and the references."""

    def __init__(self, tmp_path: Path) -> None:
        self.runner = NodeRunner(tmp_path)
        self.setting = Setting(tmp_path, "sd1")
        self.context: RunContext = replace(
            self.setting.context,
            store=self.runner.cache,
            located={**self.setting.context.located, "clip": BUNDLED},
            fingerprint="clip",
        )
        self.models = [
            self.setting.model,
            textual_inversion(self.setting, self.context),
            fine_tune(self.setting, self.context),
        ]
        self.runner.picture("p/one.png")
        self.references: ImageDataset = images(self.runner)
        self.context = replace(self.context, located={**self.context.located, **self.runner.located})

    def drawn(self, prompts: str) -> ImageSet:
        return SampleImages(prompts=prompts, num_inference_steps=2).run(self.models, self.context)

    def run(self, **changes: Any) -> Any:
        given = {
            "models": self.models,
            "images": [self.drawn("<new>\na <new> b")],
            "unrelated_images": [self.drawn("c")],
            "references": self.references,
            **changes,
        }
        return CompareMethods(prompt_words="<new>=owl").run(context=self.context, **given)[0]


@pytest.fixture
def case(tmp_path: Path) -> Any:
    made = Case(tmp_path)
    yield made
    made.runner.cache.close()


def table(report: str) -> list[dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if line.startswith("|")]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_the_numbers_are_those_of_the_methods(case: Case) -> None:
    artifact = case.run()
    files = dict(artifact.folder)
    base, word, whole = table(files["report.md"].read_text())
    assert [row["method"] for row in (base, word, whole)] == ["untrained", "textual inversion", "fine-tuning"]
    assert (base["parameters"], base["steps"], base["drift"]) == ("", "", "0.000")
    assert (word["trained"], word["parameters"], word["file"], word["steps"]) == ("word vectors", str(4 * 32), "0.5 KB", "3")

    unet = fresh_model(case.setting.bench.folder).unet
    assert whole["parameters"] == f"{sum(p.numel() for p in unet.parameters()):,}"
    assert float(whole["drift"]) > 0
    judge = Judge(case.references, {"<new>": "owl"}, False, case.context)
    drawn = case.drawn("<new>\na <new> b")
    assert float(word["CLIP-I"]) == pytest.approx(judge.measure(drawn.images[2:4])["clip_i"], abs=1e-3)
    assert float(word["CLIP-T"]) == pytest.approx(judge.measure(drawn.images[2:4])["clip_t"], abs=1e-3)


def test_every_training_whose_costs_are_kept_has_a_name() -> None:
    """Those of the denoising loss keep them; a class that is renamed or added has to be named in the report too."""
    kept = {
        name
        for name, node_type in load_palette().types.items()
        if issubclass(node_type.cls, DenoisingSettings) and DiffusionModel in node_type.outputs.values()
    }
    assert set(METHODS) == kept


def test_the_page_is_whole_and_carries_its_workflow(case: Case) -> None:
    page = dict(case.run().folder)["report.html"].read_text()
    assert "textual inversion" in page
    assert page.count("<tr>") == 4
    assert "data:image/png;base64," in page
    carried = re.search(r'<script type="application/json" id="latentloom">(.*?)</script>', page)
    assert carried
    assert "workflow" in json.loads(carried[1])
    assert "http" not in page.replace(carried[0], "")


def test_pictures_of_other_models_or_in_another_order_are_refused(case: Case) -> None:
    with pytest.raises(InputError) as caught:
        case.run(models=case.models[::-1])
    assert caught.value.field == "images"
    two = SampleImages(prompts="c", num_inference_steps=2).run(case.models[:2], case.context)
    with pytest.raises(InputError) as caught:
        case.run(unrelated_images=[two])
    assert caught.value.field == "unrelated_images"
    assert caught.value.remedy


def test_costs_of_a_training_that_was_interrupted_add_up(tmp_path: Path) -> None:
    from nodes.methods.costs import Costs

    (tmp_path / "costs.json").write_text("[100.0, 7]")
    again = Costs("TrainTI", 5, tmp_path, torch.device("cpu"))
    again.after_step()
    assert again.seconds > 100
    assert again.peak_memory > 7
