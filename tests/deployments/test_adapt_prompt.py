"""Writing a prompt out with a text model: what it is told, what passes, and what is said when nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.adapt.prompt import Prompt, fault_of, messages_of
from deployments.nets.writer import Writer, Written
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageFailed
from tests.deployments import tiny_writer
from tests.deployments.desk import DeskContext

PROMPT = "a fox in snow"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_writer.save(tmp_path_factory.mktemp("writer"))


def loaded(root: Path, model: Path, cancel_after: int | None = None) -> tuple[Prompt, DeskContext]:
    desk, stage = DeskContext(root, cancel_after=cancel_after), Prompt()
    stage.load(Prompt.Weights(model=str(model)), desk)
    return stage, desk


def params(words: int = 20, tries: int = 10, temperature: float = 1.5) -> Prompt.Params:
    return Prompt.Params(words=words, tries=tries, temperature=temperature, top_p=1)


def text_of(count: int, is_cut: bool = False) -> Written:
    return Written(" ".join(["word"] * count), count, is_cut)


def test_a_text_of_about_the_words_asked_for_comes_back_and_the_original_is_kept(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model)
    text = stage.run(params(), prompt=PROMPT, seed=1)
    noted = desk.notes["prompt_written"]
    assert 10 <= len(text.split()) <= 32
    assert (noted["original"], noted["prompt"], noted["words"]) == (PROMPT, text, len(text.split()))


def test_the_same_seed_writes_the_same_text_and_another_seed_another(tmp_path: Path, model: Path) -> None:
    stage, _ = loaded(tmp_path, model)
    first, again, other = (stage.run(params(), prompt=PROMPT, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_seed_decides_also_where_the_models_own_settings_take_the_likeliest_word(
    tmp_path: Path, model: Path
) -> None:
    # The file says top_k 1: with its settings left in effect, all seeds would give one text.
    stage, _ = loaded(tmp_path, model)
    assert len({stage.run(params(), prompt=PROMPT, seed=seed) for seed in (1, 2, 3)}) == 3


def test_nothing_else_in_the_process_is_seeded(tmp_path: Path, model: Path) -> None:
    import torch

    stage, _ = loaded(tmp_path, model)
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    stage.run(params(), prompt=PROMPT, seed=1)
    assert torch.equal(torch.rand(1), wanted)


def test_a_text_of_the_wrong_length_is_written_again_and_each_try_is_told_of(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model)
    with pytest.raises(StageFailed, match="no text of about 250 words; tries: 2"):
        stage.run(params(words=250, tries=2), prompt=PROMPT, seed=1)
    assert [warning.partition(":")[0] for warning in desk.warnings] == ["try 1 of 2", "try 2 of 2"]


def test_the_original_goes_on_only_where_the_caller_said_so_and_it_is_told(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model)
    asked = Prompt.Params(words=250, tries=1, temperature=1.5, otherwise="original")
    assert stage.run(asked, prompt=PROMPT, seed=1) == PROMPT
    assert "the prompt is the original" in desk.warnings[-1]
    assert desk.notes["prompt_written"]["try"] is None


def test_a_cancelled_run_stops_at_the_next_token(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model, cancel_after=3)
    with pytest.raises(Cancelled):
        stage.run(params(), prompt=PROMPT, seed=1)
    assert [done for done, _ in desk.steps] == [1, 2, 3]


def test_greedy_writing_is_one_try(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model)
    with pytest.raises(StageFailed, match="tries: 1"):
        stage.run(Prompt.Params(words=200, temperature=0), prompt=PROMPT, seed=1)
    assert len(desk.warnings) == 1


def test_tries_at_temperature_zero_are_refused() -> None:
    with pytest.raises(InvalidInput, match="tries: at temperature 0"):
        Prompt.plan(Prompt.Params(temperature=0, tries=2))


@pytest.mark.parametrize(
    ("prompt", "seed", "field"), [("  ", 1, "prompt"), ("fox", -1, "seed"), ("fox", 1 << 63, "seed")]
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, model: Path, prompt: str, seed: int, field: str) -> None:
    stage, _ = loaded(tmp_path, model)
    with pytest.raises(InvalidInput) as refused:
        stage.run(params(), prompt=prompt, seed=seed)
    assert refused.value.field == field


def test_a_prompt_beyond_the_models_room_is_refused_before_it_writes(tmp_path: Path, model: Path) -> None:
    stage, desk = loaded(tmp_path, model)
    with pytest.raises(InvalidInput, match="has room for 1024"):
        stage.run(params(), prompt="fox " * 1000, seed=1)
    assert not desk.steps


def test_the_template_names_camera_light_references_and_length() -> None:
    system, user = messages_of(Prompt.Params(), PROMPT)
    assert "about 100 words" in system["content"]
    assert [line.split(":")[0] for line in user["content"].splitlines() if line.startswith("- ")] == [
        "- camera",
        "- light",
        "- references",
    ]
    assert user["content"].endswith(f"What to describe: {PROMPT}")


def test_what_the_caller_says_of_an_aspect_is_handed_on_word_for_word() -> None:
    _, user = messages_of(Prompt.Params(light="one candle, from below"), PROMPT)
    assert "- light, to be kept as it is: one candle, from below" in user["content"]


def test_every_kind_asks_for_something_else() -> None:
    asked = {messages_of(Prompt.Params(kind=kind), PROMPT)[1]["content"] for kind in ("scene", "portrait", "story")}
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (text_of(50), None),
        (text_of(160), None),
        (text_of(49), "has 49 words, under 50"),
        (text_of(161), "has 161 words, over 160"),
        (text_of(100, is_cut=True), "was not finished after 100 tokens"),
        (text_of(0), "has 0 words, under 50"),
    ],
)
def test_what_passes_for_a_hundred_words(written: Written, fault: str | None) -> None:
    assert fault_of(written, 100) == fault


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    root = tiny_writer.save(tmp_path / "plain", has_template=False)
    with pytest.raises(Misconfigured, match="no chat template"):
        loaded(tmp_path, root)


def test_a_model_that_lacks_a_tensor_is_refused(tmp_path: Path, model: Path) -> None:
    from safetensors.torch import load_file, save_file

    root = tmp_path / "lacking"
    root.mkdir()
    for file in model.iterdir():
        (root / file.name).write_bytes(file.read_bytes())
    tensors = load_file(root / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Misconfigured, match=r"lacks 1 tensors, lm_head\.weight"):
        loaded(tmp_path, root)


def test_pickled_weights_are_refused(tmp_path: Path, model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    root = tmp_path / "pickled"
    root.mkdir()
    for file in model.iterdir():
        if file.name != "model.safetensors":
            (root / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(model / "model.safetensors"), root / "pytorch_model.bin")
    with pytest.raises(Misconfigured, match="is not a whole text model"):
        loaded(tmp_path, root)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.model"):
        loaded(tmp_path, tmp_path / "nowhere")


def test_an_unknown_param_is_refused() -> None:
    with pytest.raises(ValidationError):
        Prompt.Params.model_validate({"style": "noir"})


def test_thoughts_and_quotation_marks_are_not_part_of_the_text() -> None:
    from deployments.nets.writer import _plain

    assert _plain('<think>hm, a fox</think>\n\n"A fox\n  walks."') == "A fox walks."
    assert _plain("<think>it never ends") == ""


def test_the_writer_knows_its_room(model: Path) -> None:
    import torch

    assert Writer.load(str(model), None, torch.float32, "cpu").most_tokens == 1024
