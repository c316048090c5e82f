"""Models that lie on this machine already."""

from __future__ import annotations

from pathlib import Path

from npu_jupyter.errors import InvalidModel
from npu_jupyter.registry.folder import MODEL_XML, Form, form_of
from npu_jupyter.registry.names import name_from_stem
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.sources.source import Found, Source, Workspace, digest


class LocalSource(Source):
    """A GGUF file, or a folder in OpenVINO or Hugging Face form."""

    def __init__(self, path: Path) -> None:
        """Name an absolute path that exists."""
        self.path = path
        self.text = str(path)

    def fetch(self, workspace: Workspace) -> Found:
        """Look at what is there; nothing is moved."""
        workspace.report(PullProgress("find", message=self.text))
        form = form_of(self.path)
        if form is None:
            raise InvalidModel(explain_unknown(self.path))
        stem = self.path.stem if form is Form.GGUF else self.path.name
        name = name_from_stem(stem) or name_from_stem(self.path.parent.name) or "model"
        content = digest(self.path, workspace.cancelled)
        return Found(form, self.path, self.text, name, content, ours=False)


def explain_unknown(path: Path) -> str:
    """Say why what lies at `path` is no model that can be imported."""
    if path.is_file():
        return f"{path.name} is no GGUF file. Give a file that ends in .gguf, or a model's folder."
    ggufs = sorted(file.name for file in path.glob("*.gguf"))
    if ggufs:
        return f"{path.name} holds GGUF files; name one of them: {', '.join(ggufs)}"
    if (path / "openvino_language_model.xml").is_file():
        return f"{path.name} is a model for images and text, which this release does not serve."
    if (path / "config.json").is_file():
        return (
            f"{path.name} has a config.json but no *.safetensors. If its weights are in another "
            "form (pytorch_model.bin), save them again with save_pretrained()."
        )
    return (
        f"{path.name} holds no model: neither {MODEL_XML}, nor config.json with *.safetensors, "
        "nor a .gguf file."
    )
