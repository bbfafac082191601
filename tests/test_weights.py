"""The registry of pretrained weights: hashed, named, whole or refused; nothing is run or downloaded."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from sklar import weights
from sklar.cli import app
from sklar.errors import DataError, UserError

RESNET = {
    "conv1.weight": torch.zeros(2, 3, 7, 7),
    **{f"layer{k}.0.conv1.weight": torch.zeros(2, 2, 3, 3) for k in (1, 2, 3, 4)},
}


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKLAR_WEIGHTS", str(tmp_path / "registry"))
    return tmp_path / "registry"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=9, **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    (folder / "README.md").write_text("what is not needed is not kept")
    return folder


def test_weights_are_copied_hashed_and_found_by_name(bert: Path, registry: Path) -> None:
    entry = weights.add("tiny-bert", str(bert), origin="a paper, 2019", licence="Apache-2.0")
    assert (entry.architecture, entry.source, entry.licence) == ("bert", "a paper, 2019", "Apache-2.0")
    assert set(entry.files) == {"config.json", "model.safetensors", "vocab.txt"}
    assert entry.parameters == sum(t.numel() for t in load_file(bert / "model.safetensors").values())
    assert weights.locate("tiny-bert") == entry
    assert weights.installed() == [entry]
    assert weights.damage(entry) == []
    assert entry.path == registry / "tiny-bert"
    assert not list(registry.glob(".partial*"))


def test_a_path_needs_no_registry(bert: Path) -> None:
    found = weights.locate(str(bert))
    assert (found.path, found.architecture) == (bert, "bert")
    assert found.files["model.safetensors"] == weights.add("x", str(bert)).files["model.safetensors"]


@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
def test_a_pickled_state_dict_is_kept_as_safetensors(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"resnet.{ending}"
    torch.save(RESNET, file)
    with pytest.raises(UserError, match=r"may hold code and is not loaded: 'sklar weights add NAME"):
        weights.locate(str(file))
    entry = weights.add("small", str(file))
    assert entry.architecture == "resnet of basic blocks 1-1-1-1"
    kept = load_file(entry.path / "model.safetensors")
    assert {name: tensor.shape for name, tensor in kept.items()} == {k: v.shape for k, v in RESNET.items()}


def test_a_folder_with_nothing_but_a_pickle_is_converted_when_it_is_added(bert: Path) -> None:
    tensors = load_file(bert / "model.safetensors")
    tied = next(iter(tensors))
    torch.save({**tensors, "tied": tensors[tied]}, bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pytorch_model.bin is a pickle"):
        weights.locate(str(bert))
    kept = load_file(weights.add("tiny", str(bert)).path / "model.safetensors")
    assert set(kept) == {*tensors, "tied"}


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps({"conv1.weight": Evil()}, protocol=2))
    with pytest.raises(DataError, match="holds code, which is not run"):
        weights.add("evil", str(file))
    torch.save({"conv1.weight": Evil()}, file)
    with pytest.raises(DataError, match="holds code, which is not run"):
        weights.add("evil", str(file))
    assert not (tmp_path / "ran").exists()
    assert weights.installed() == []


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda t: saved(t / "x.pth", [torch.zeros(1)]), "not a plain dictionary of tensors"),
        (lambda t: saved(t / "x.pth", {"epoch": 3}), "not a plain dictionary of tensors"),
        (lambda t: write(t / "x.pth", Path(saved(t / "y", RESNET)).read_bytes()[:400]), "truncated"),
        (lambda t: write(t / "x.safetensors", b"nothing of that kind"), "no file of safetensors"),
        (lambda t: saved(t / "x.pth", {"w": torch.zeros(1)}), "no residual network .* found w"),
        (lambda t: str(t), "holds no safetensors"),
    ],
    ids=["list", "numbers", "truncated pickle", "not safetensors", "unknown names", "empty folder"],
)  # fmt: skip
def test_broken_files_are_refused_and_leave_nothing(tmp_path: Path, source: Any, message: str) -> None:
    own = tmp_path / "source"
    own.mkdir()
    with pytest.raises(DataError, match=message):
        weights.add("broken", source(own))
    assert weights.installed() == []
    assert not list(weights.registry().iterdir())


def test_a_truncated_file_is_refused(bert: Path) -> None:
    file = bert / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(DataError, match="or it is truncated"):
        weights.locate(str(bert))


def test_a_changed_file_is_told_and_not_used(bert: Path) -> None:
    entry = weights.add("tiny", str(bert))
    file = entry.path / "model.safetensors"
    content = load_file(file)
    save_file({name: tensor + 1 for name, tensor in content.items()}, file)
    (entry.path / "vocab.txt").unlink()
    assert weights.damage(entry) == ["model.safetensors changed", "vocab.txt is missing"]
    with pytest.raises(
        DataError, match=r"not what was added: model.safetensors changed; vocab.txt is missing"
    ):
        weights.locate("tiny")


def test_unknown_names_are_answered_with_what_there_is(bert: Path) -> None:
    with pytest.raises(
        UserError, match=r"no weights were added yet.*nothing is downloaded: sklar weights add"
    ):
        weights.locate("tinybert")
    weights.add("tiny-bert", str(bert))
    with pytest.raises(UserError, match=r"known names: tiny-bert\).*did you mean tiny-bert"):
        weights.locate("tinybert")


@pytest.mark.parametrize("name", ["scratch", "Upper", "../up", "a/b", ""])
def test_impossible_names_are_refused(bert: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a name of weights"):
        weights.add(name, str(bert))


def test_a_name_is_given_once(bert: Path) -> None:
    weights.add("tiny", str(bert))
    with pytest.raises(UserError, match=r"'tiny' exist in .*: choose another name, or remove"):
        weights.add("tiny", str(bert))


def test_nothing_is_downloaded_unless_asked(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub as hub

    asked: list[dict[str, Any]] = []

    class Api:
        def model_info(self, repo: str, revision: str | None) -> Any:
            asked.append({"repo": repo, "revision": revision})
            return type("Info", (), {"sha": "abc123"})

    def snapshot(repo: str, **rest: Any) -> str:
        asked.append({"repo": repo, **rest})
        return str(bert)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(UserError, match="not on this machine, and nothing is downloaded unless asked"):
        weights.add("tiny", "someone/tiny")
    with pytest.raises(UserError, match="does not exist; give a folder, a file, or owner/name"):
        weights.add("tiny", "/no/such/folder", allow_download=True)
    assert not asked
    entry = weights.add("tiny", "someone/tiny@v2", allow_download=True)
    assert entry.source == "hub:someone/tiny@abc123"
    assert [call["revision"] for call in asked] == ["v2", "abc123"]


def test_a_failed_download_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="someone/tiny could not be downloaded"):  # the tests are offline
        weights.add("tiny", "someone/tiny", allow_download=True)


def test_the_default_registry_lies_with_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKLAR_WEIGHTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights.registry() == tmp_path / "sklar/weights"


def test_the_verbs_add_list_and_verify(bert: Path, registry: Path) -> None:
    runner = CliRunner()
    assert "no weights in" in runner.invoke(app, ["weights", "list"]).output
    added = runner.invoke(
        app, ["weights", "add", "tiny", str(bert), "--licence", "MIT", "--origin", "a paper", "--json"]
    )
    assert added.exit_code == 0, added.output
    assert json.loads(added.output.splitlines()[-1])["architecture"] == "bert"
    listed = runner.invoke(app, ["weights", "list"]).output
    assert listed.split()[:2] == ["tiny", "bert"]
    assert "a paper (MIT)" in listed
    assert runner.invoke(app, ["weights", "verify"]).output == "ok tiny\n"
    with (registry / "tiny" / "vocab.txt").open("a") as file:
        file.write("[MASK]\n")
    broken = runner.invoke(app, ["weights", "verify", "tiny"])
    assert (broken.exit_code, broken.output) == (3, "!! tiny: vocab.txt changed\n")
    assert isinstance(runner.invoke(app, ["weights", "verify", "tony"]).exception, UserError)
