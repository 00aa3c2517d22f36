"""Published weights with and without a network; the only server that is asked runs in the test itself."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets import downloads
from leukemia_lab.nets.downloads import hub_file, huggingface_file
from leukemia_lab.nets.small import simple_cnn
from leukemia_lab.nets.weights import timm_weights, torchvision_weights

OUTS = r"model\.weights_path=/path/to/{name}, or start from random weights: model\.pretrained=false"
WEIGHTS = {"weight": torch.ones(2)}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and no proxy in between."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server of files, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()


def _serve(folder: Path, digest: str | None) -> str:
    torch.save(WEIGHTS, folder / "weights.pth")
    content = (folder / "weights.pth").read_bytes()
    name = f"net-{hashlib.sha256(content).hexdigest()[:8] if digest is None else digest}.pth"
    (folder / "weights.pth").rename(folder / name)
    return name


def test_a_download_lands_in_torch_hubs_cache_and_is_used_again(server: tuple[str, Path]) -> None:
    address, folder = server
    name = _serve(folder, digest=None)
    file = hub_file(f"{address}/{name}")
    assert file == Path(torch.hub.get_dir()) / "checkpoints" / name
    assert torch.equal(torch.load(file, weights_only=True)["weight"], WEIGHTS["weight"])
    assert hub_file(f"http://nowhere.invalid/{name}") == file


def test_a_download_with_another_hash_is_refused_and_not_kept(server: tuple[str, Path]) -> None:
    address, folder = server
    name = _serve(folder, digest="00000000")
    with pytest.raises(ConfigError, match=rf"{name} .*invalid hash value .*{OUTS.format(name=name)}"):
        hub_file(f"{address}/{name}")
    assert list((Path(torch.hub.get_dir()) / "checkpoints").iterdir()) == []


def test_a_file_that_the_server_has_not_is_an_error(server: tuple[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth .*\(File not found\)"):
        hub_file(f"{server[0]}/none.pth")


def test_the_limit_on_stalls_ends_with_the_download(server: tuple[str, Path]) -> None:
    hub_file(f"{server[0]}/{_serve(server[1], digest=None)}")
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def test_torchvision_without_a_network_names_file_folder_url_and_ways_out(no_network: None) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError) as error:
        torchvision_weights("VGG16_Weights.IMAGENET1K_V1").load()
    assert time.monotonic() - started < 5
    message = str(error.value)
    name, folder = "vgg16-397923af.pth", Path(torch.hub.get_dir()) / "checkpoints"
    for part in (
        f"weights {name} are not in the cache",
        f"https://download.pytorch.org/models/{name} ([Errno -2] Name or service not known)",
        f"Put the file in {folder}",
        f"model.weights_path=/path/to/{name}",
        "model.pretrained=false",
    ):
        assert part in message


def test_timm_without_a_network_names_file_folder_url_and_ways_out(no_network: None, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    started = time.monotonic()
    with pytest.raises(ConfigError) as error:
        timm_weights("resnet18.a1_in1k").load()
    assert time.monotonic() - started < 5
    for part in (
        "weights model.safetensors are not in the cache",
        "/timm/resnet18.a1_in1k/resolve/main/model.safetensors ([Errno -2] Name or service not known)",
        "Run `hf download timm/resnet18.a1_in1k model.safetensors` where there is a network",
        str(tmp_path / "huggingface" / "models--timm--resnet18.a1_in1k"),
        "model.weights_path=/path/to/model.safetensors",
        "model.pretrained=false",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("hanging", ["getaddrinfo", "connect"])
def test_a_network_that_swallows_everything_ends_soon(monkeypatch: pytest.MonkeyPatch, hanging: str) -> None:
    released = threading.Event()

    def hang(*args: Any, **kwargs: Any) -> None:
        released.wait(30)
        raise TimeoutError("released")

    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 0.1)
    if hanging == "getaddrinfo":
        monkeypatch.setattr(socket, "getaddrinfo", hang)
    else:
        monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"no answer within 0 s"):
        hub_file("http://127.0.0.1:9/net-00000000.pth")
    assert time.monotonic() - started < 5
    released.set()


def test_a_server_that_accepts_and_says_nothing_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"timed out|no answer within"):
            hub_file(f"http://127.0.0.1:{silent.getsockname()[1]}/net-00000000.pth")
        assert time.monotonic() - started < 5


def test_cached_files_of_hugging_face_need_no_network(no_network: None, tmp_path: Path) -> None:
    repository = tmp_path / "huggingface" / "models--owner--net"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    (snapshot / "second.bin").write_bytes(b"weights")
    assert huggingface_file("owner/net", ["first.bin", "second.bin"]) == snapshot / "second.bin"
    assert huggingface_file("owner/net@0123456789abcdef", ["second.bin"]) == snapshot / "second.bin"


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a repository on the hub holds; downloads go no further."""
    held: list[str] = []

    def download(repo: str, name: str, revision: str | None) -> str:
        if name == "unplugged":
            raise LocalEntryNotFoundError("no answer")
        if name not in held:
            raise EntryNotFoundError(f"{name} is not there")
        return str(tmp_path / f"{repo}@{revision}" / name)

    monkeypatch.setattr(downloads, "_check_reachable", lambda url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return held


def test_the_first_file_that_the_repository_has_is_taken(repository: list[str], tmp_path: Path) -> None:
    repository.append("b")
    assert huggingface_file("owner/net", ["a", "b", "c"]) == tmp_path / "owner" / "net@None" / "b"
    assert huggingface_file("owner/net@v2", ["b"]) == tmp_path / "owner" / "net@v2" / "b"
    with pytest.raises(ConfigError, match=r"\(owner/net has none of a, c\)"):
        huggingface_file("owner/net", ["a", "c"])
    with pytest.raises(ConfigError, match=r"\(no answer\)"):
        huggingface_file("owner/net", ["unplugged", "b"])


def test_torchvisions_weights_come_with_their_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(WEIGHTS, folder / "alexnet-owt-7be5be79.pth", _use_new_zipfile_serialization=False)
    weights = torchvision_weights("AlexNet_Weights.IMAGENET1K_V1")
    assert torch.equal(weights.load()["weight"], WEIGHTS["weight"])
    assert weights.mean == (0.485, 0.456, 0.406)
    assert weights.std == (0.229, 0.224, 0.225)
    assert weights.source == "torchvision AlexNet_Weights.IMAGENET1K_V1"


def test_timms_weights_come_with_their_normalisation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    torch.save(simple_cnn(3, 2, 32, 4, 0.0).state_dict(), tmp_path / "net.bin")
    asked = []

    def file(repo: str, names: list[str]) -> Path:
        asked.append((repo, *names))
        return tmp_path / "net.bin"

    monkeypatch.setattr("leukemia_lab.nets.weights.huggingface_file", file)
    weights = timm_weights("vit_tiny_patch16_224")
    state = weights.load()
    assert asked == [
        ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors", "pytorch_model.bin")
    ]
    assert weights.mean == weights.std == (0.5, 0.5, 0.5)
    assert weights.source == "timm vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert "features.0.weight" in state


def test_a_model_of_timm_without_weights_is_told_so() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    without = next(
        name
        for name in timm.list_models("resnet*")
        if not (config := timm.get_pretrained_cfg(name)).hf_hub_id and not config.url
    )
    with pytest.raises(
        ConfigError, match=rf"no pretrained weights for {without}: set model\.pretrained=false"
    ):
        timm_weights(without)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("VGG16_Weights.IMAGENET1K_V9", r"Did you mean VGG16_Weights\.IMAGENET1K_V1\?"),
        ("vgg16_weights.imagenet1k_v1", r"Did you mean VGG16_Weights\.IMAGENET1K_V1\?"),
        ("vgg16.pth", ""),
        ("nonsense", ""),
    ],
)
def test_unknown_weights_of_torchvision(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"torchvision has no weights '{name}'\..*{hint}"):
        torchvision_weights(name).load()
