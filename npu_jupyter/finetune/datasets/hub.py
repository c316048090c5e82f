"""Datasets of the Hugging Face hub, or of the mirror that HF_ENDPOINT names."""

from __future__ import annotations

from npu_jupyter.errors import HubUnreachable, InvalidRequest, NotFound, PermissionDenied
from npu_jupyter.finetune.datasets.opening import one_split
from npu_jupyter.finetune.datasets.records import Container, Reader, Table


def open_hub(name: str) -> Reader:
    """Download ``org/name[@revision]`` into the library's own cache and open it.

    Code that a repository brings is never run: the library has none of that any more.

    Raises:
        NotFound: there is no such repository or revision.
        PermissionDenied: it is gated.
        HubUnreachable: the hub did not answer.
        InvalidRequest: it has several configurations or splits, or no data that can be read.
    """
    import datasets
    import httpx

    repo, _, revision = name.partition("@")
    _ask(repo, revision or None)
    try:
        loaded = datasets.load_dataset(repo, revision=revision or None)
    except (ConnectionError, httpx.HTTPError) as error:
        raise _unreachable(name, error) from error
    except (
        ValueError,
        RuntimeError,
        FileNotFoundError,
        datasets.exceptions.DatasetGenerationError,
        datasets.exceptions.DatasetNotFoundError,
    ) as error:
        raise InvalidRequest(f"{name} cannot be read: {error}", param="dataset") from error
    return Table(one_split(loaded, name), Container.HUB)


def _ask(repo: str, revision: str | None) -> None:
    """See that the repository is there: the library itself says so less clearly."""
    import httpx
    from huggingface_hub import HfApi, errors

    try:
        HfApi().dataset_info(repo, revision=revision)
    except errors.GatedRepoError as error:
        raise PermissionDenied(
            f"{repo} is gated. Accept its terms on the hub, then set HF_TOKEN to a token of yours.",
            param="dataset",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFound(f"{repo} has no revision {revision!r}.", param="dataset") from error
    except errors.RepositoryNotFoundError as error:
        raise NotFound(
            f"The hub has no dataset {repo}, or it is private: then set HF_TOKEN.",
            param="dataset",
        ) from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise _unreachable(repo, error) from error


def _unreachable(name: str, error: Exception) -> HubUnreachable:
    return HubUnreachable(
        f"The hub cannot be reached to fetch {name}: {error}. Without a network, give a file.",
        param="dataset",
    )
