"""What a caller asks for when he starts a job, checked field by field."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated, Any, TypeVar, get_origin

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator, Strict, ValidationError, create_model

from npu_jupyter.errors import InvalidRequest, MissingExtra, UnsupportedParameter
from npu_jupyter.finetune.names import MAX_SUFFIX_LENGTH
from npu_jupyter.finetune.recipe import BOUNDS, Recipe
from npu_jupyter.v1.complaints import complain, invalid
from npu_jupyter.v1.schema import Body

_MAX_TEXT_LENGTH = 4096
_MAX_TEXTS = 100
_MAX_METADATA = 16
_MAX_METADATA_KEY_LENGTH = 64
_MAX_METADATA_LENGTH = 512
_MAX_BAD_ROWS = 1_000_000
MAX_ID = 2**31 - 1
_TRAINING_PACKAGES = ("torch", "transformers", "peft", "datasets")
_TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")

_Checked = TypeVar("_Checked", bound=Body)

HARMLESS = frozenset({"save_steps", "sample_prompts", "sample_steps", "report_to"})
"""Settings of a recipe that do not change what is trained: a run that goes on may have others."""


def _model(value: Any) -> int | str:
    """Take a registry id or a name; a form sends both as text."""
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT_LENGTH:
        return int(value) if value.isascii() and value.isdigit() else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid("must be the id of a model, as GET /api/npu/models lists them, or its name")


def _text_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT_LENGTH)]
Texts = Annotated[list[Text], BeforeValidator(_text_list), Field(max_length=_MAX_TEXTS)]
MetadataKey = Annotated[str, Field(max_length=_MAX_METADATA_KEY_LENGTH)]
MetadataValue = Annotated[str, Field(max_length=_MAX_METADATA_LENGTH)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=_MAX_METADATA)]


def _type_of(setting: msgspec.structs.FieldInfo) -> Any:
    """Give what pydantic is to make of a recipe's setting."""
    kind = setting.type
    if get_origin(kind) is tuple:
        kind = Texts
    elif issubclass(kind, StrEnum):
        kind = Annotated[kind, Strict(strict=False)]
    elif setting.name in BOUNDS:
        low, high = BOUNDS[setting.name]
        finite = Field(allow_inf_nan=False) if kind is float else Field()
        kind = Annotated[kind, finite, Field(ge=low, le=high)]
    return kind | None


_SETTINGS = msgspec.structs.fields(Recipe)
_RecipeBody: type[Body] = create_model(  # type: ignore[call-overload]
    "_RecipeBody",
    __base__=Body,
    **{setting.name: (_type_of(setting), None) for setting in _SETTINGS},
)


class StartBody(Body):
    """The body of ``POST /api/finetune/start`` besides the recipe."""

    model_id: Annotated[int | str | None, PlainValidator(_model)] = None
    dataset: Text | None = None
    format: Text | None = None
    text_column: Text | None = None
    columns: dict[Text, Text] | None = None
    max_bad_rows: Annotated[int, Field(ge=0, le=_MAX_BAD_ROWS)] | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=MAX_SUFFIX_LENGTH)] | None = None
    resume_from: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StartRequest:
    """A job as it is asked for."""

    model: int | str | None
    """Id or name; None only when it goes on from another job."""
    dataset: str | None
    """A name or path; None only when it goes on from another job."""
    recipe: Recipe
    given: dict[str, Any] = field(default_factory=dict)
    """Those settings of the recipe that the caller named."""
    format: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    max_bad_rows: int = 0
    suffix: str | None = None
    resume_from: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def parse_start(fields: dict[str, Any], *, as_text: bool = False) -> StartRequest:
    """Check what was sent; `as_text` when all values are texts, as a form's are.

    Raises:
        InvalidRequest: naming the field.
    """
    body = _checked(StartBody, fields, as_text=as_text)
    recipe_body = _checked(_RecipeBody, fields, as_text=as_text)
    _refuse_unknown(fields, {*StartBody.model_fields, *_RecipeBody.model_fields})
    given = recipe_body.model_dump(exclude_none=True)
    recipe = msgspec.convert(given, Recipe)
    recipe.check()
    if body.resume_from is None:
        for name in ("model_id", "dataset"):
            if getattr(body, name) is None:
                raise InvalidRequest(f"{name} is required.", param=name)
    return StartRequest(
        model=body.model_id,
        dataset=body.dataset,
        recipe=recipe,
        given={name: getattr(recipe, name) for name in given},
        format=body.format,
        columns=_columns(body),
        max_bad_rows=body.max_bad_rows or 0,
        suffix=body.suffix,
        resume_from=body.resume_from,
        metadata=body.metadata or {},
    )


def _checked(kind: type[_Checked], fields: dict[str, Any], *, as_text: bool) -> _Checked:
    try:
        return kind.model_validate(fields, strict=False if as_text else None)
    except ValidationError as error:
        raise complain(error) from None


def _refuse_unknown(fields: Collection[str], known: Collection[str]) -> None:
    """Refuse a setting that there is not: training without it is not what was asked for."""
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else "docs/finetune.md lists them."
            raise UnsupportedParameter(f"There is no setting {name[:64]}. {hint}", param=name[:64])


def _columns(body: StartBody) -> dict[str, str]:
    columns = dict(body.columns or {})
    if body.text_column is not None:
        columns["text"] = body.text_column
    return columns


def require_packages(recipe: Recipe) -> None:
    """See that what trains is installed, before anything is queued.

    Raises:
        MissingExtra: naming the extra.
        InvalidRequest: for a tracker that there is not, or that is not installed.
    """
    if not all(map(_installed, _TRAINING_PACKAGES)):
        raise MissingExtra("Fine-tuning", "finetune")
    if recipe.quantize_base and not _installed("bitsandbytes"):
        raise MissingExtra("quantize_base", "qlora")
    for tracker in recipe.report_to:
        if tracker not in _TRACKERS:
            raise InvalidRequest(
                f"report_to must name some of {', '.join(_TRACKERS)}, not {tracker[:64]!r}.",
                param="report_to",
            )
        if not _installed(tracker):
            raise InvalidRequest(
                f"report_to needs {tracker}, which is not installed: pip install {tracker}",
                param="report_to",
            )


def _installed(package: str) -> bool:
    """Look for a package without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # it has been made unimportable
        return False
