"""Files of published weights: from the cache of their library, else downloaded, else an error within seconds."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch

from leukemia_lab.errors import ConfigError
from leukemia_lab.progress import CONSOLE

PATIENCE_SECONDS = 5.0  # for a first answer of the server
STALL_SECONDS = 30.0  # without a byte in the middle of a download


def hub_file(url: str) -> Path:
    """The file behind `url` in torch.hub's cache, downloaded and its hash checked where it is absent.

    Raises:
        ConfigError: it is absent and cannot be downloaded, or what came has another hash.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not file.exists():
        with _explained(url, file.name, f"Put the file in {file.parent}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            _check_reachable(url)
            hash_prefix = torch.hub.HASH_REGEX.search(file.name)
            with _stall_limit():
                torch.hub.download_url_to_file(
                    url,
                    str(file),
                    None if hash_prefix is None else hash_prefix.group(1),
                    progress=CONSOLE.is_terminal,
                )
    return file


def huggingface_file(repo: str, names: Sequence[str]) -> Path:
    """The first of the files `names` that the repository has, in Hugging Face's cache or downloaded into it.

    `repo` is `owner/name` or `owner/name@revision`. The cache is used without a question to the server.

    Raises:
        ConfigError: none is in the cache and none can be downloaded.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo_id, _, tag = repo.partition("@")
    revision = tag if tag else None
    for name in names:
        cached = try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    folder = Path(HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    way_in = f"Run `hf download {repo_id} {names[0]}` where there is a network and copy its cache's folder to {folder}"
    url = hf_hub_url(repo_id, names[0], revision=revision)
    with _explained(url, names[0], way_in):
        _check_reachable(url)  # the hub's own client goes on trying for half a minute
        for name in names:
            try:
                return Path(hf_hub_download(repo_id, name, revision=revision))
            except LocalEntryNotFoundError:  # no answer; a kind of EntryNotFoundError
                raise
            except EntryNotFoundError:
                continue
        raise FileNotFoundError(f"{repo_id} has none of {', '.join(names)}")


@contextmanager
def _explained(url: str, name: str, way_in: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of urllib, a proxy, torch.hub or the hub's HTTP client: all mean "no file"
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise ConfigError(
            f"the pretrained weights {name} are not in the cache and cannot be downloaded from {url} ({reason}). "
            f"{way_in}, or name it by model.weights_path=/path/to/{name}, "
            "or start from random weights: model.pretrained=false"
        ) from error


def _check_reachable(url: str) -> None:
    """Raise what prevents an answer of the server; any answer will do."""
    outcome: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=PATIENCE_SECONDS):
                outcome.put(None)
        except HTTPError:
            outcome.put(None)
        except Exception as error:
            outcome.put(error)

    # In a thread, because looking up a name takes as long as the system likes.
    threading.Thread(target=ask, daemon=True).start()
    try:
        error = outcome.get(timeout=PATIENCE_SECONDS)
    except queue.Empty:
        error = TimeoutError(f"no answer within {PATIENCE_SECONDS:.0f} s")
    if error is not None:
        raise error


@contextmanager
def _stall_limit() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)  # torch.hub gives its connections no limit
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
