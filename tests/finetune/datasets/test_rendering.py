"""What is learned of a row: exactly the answers, after exactly what serving gives the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openvino_genai
import pytest

from npu_jupyter.engine.messages import Generate, Sampling
from npu_jupyter.engine.worker.tokenizer import ModelTokenizer
from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.rendering import NOT_LEARNED, Example, Renderer
from npu_jupyter.finetune.datasets.rows import BadRow, Message, Row

CHAT = (
    Message("user", "What is 2 + 2?"),
    Message("assistant", "It is 4.\n"),
    Message("user", "And in French?\n\n"),
    Message("assistant", "\n\nQuatre, naturellement 🙂"),
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + "
    "' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
THINKS_LAST = (  # the shape of Qwen3's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS_FIRST = (  # the shape of DeepSeek-R1's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}"
    "<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
)


def learned(example: Example, tokenizer: Any) -> list[str]:
    """Give the runs of tokens that are learned, as text."""
    runs: list[list[int]] = [[]]
    for token, label in zip(example.input_ids, example.labels, strict=True):
        if label == NOT_LEARNED:
            runs.append([])
        else:
            assert token == label
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs if run]


def render(tokenizer: Any, row: Row, max_length: int = 2048, *, assistant: bool = True) -> Example:
    return Renderer(tokenizer, max_length, assistant).render(row)


def test_each_answer_is_learned_with_its_end_and_nothing_else(tokenizer: Any) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id  # where others lose the end
    example = render(tokenizer, Row(1, CHAT))
    assert learned(example, tokenizer) == [
        "It is 4.\n<|im_end|>",
        "\n\nQuatre, naturellement 🙂<|im_end|>",
    ]
    assert example.cut_tokens == 0


def test_what_comes_before_each_answer_is_what_serving_gives(tokenizer: Any, gguf: Path) -> None:
    example = render(tokenizer, Row(1, CHAT))
    serving = ModelTokenizer(openvino_genai.Tokenizer(gguf), 2048)
    for turns in (1, 3):
        chat = [{"role": m.role, "content": m.content} for m in CHAT[:turns]]
        (prompt,) = serving.prompts(Generate(1, Sampling(), chat))
        assert example.input_ids[: len(prompt)] == prompt
        assert example.labels[len(prompt) - 1] == NOT_LEARNED
        assert example.labels[len(prompt)] != NOT_LEARNED


def test_all_is_learned_when_asked(tokenizer: Any) -> None:
    example = render(tokenizer, Row(1, CHAT), assistant=False)
    assert example.labels == example.input_ids


def test_an_answer_of_weight_0_is_read_and_not_learned(tokenizer: Any) -> None:
    chat = (CHAT[0], Message("assistant", "It is 5.", weight=0), *CHAT[2:])
    example = render(tokenizer, Row(1, chat))
    assert learned(example, tokenizer) == ["\n\nQuatre, naturellement 🙂<|im_end|>"]
    assert "It is 5." in tokenizer.decode(example.input_ids)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LLAMA2, [" Yes. <|im_end|>", " No. <|im_end|>"]),
        (PLAIN, [" Yes.\n", " No.\n<|im_end|>"]),
        (THINKS_LAST, ["Yes.<|im_end|>", "<think>\n\n</think>\n\nNo.<|im_end|>"]),
        (THINKS_FIRST, ["Yes.<|im_end|>", "No.<|im_end|>"]),
        (MARKED, ["Yes.<|im_end|>", "No.<|im_end|>"]),
    ],
    ids=["llama2", "plain", "thinks last", "thinks first", "marked"],
)
def test_answers_are_found_in_templates_of_all_kinds(
    tokenizer: Any, template: str, expected: list[str]
) -> None:
    tokenizer.chat_template = template
    chat = (CHAT[0], Message("assistant", "Yes."), CHAT[0], Message("assistant", "No."))
    renderer = Renderer(tokenizer, 2048, assistant_only_loss=True)
    example = renderer.render(Row(1, chat))
    assert learned(example, tokenizer) == expected
    assert bool(renderer.warnings) == (template == THINKS_FIRST)


@pytest.mark.parametrize("template", [LLAMA2, PLAIN, MARKED, THINKS_LAST])
@pytest.mark.parametrize("answer", ["Yes.", " Yes.", "\nYes", "\n\n Yes", "é", "7", "'s"])
def test_a_token_never_reaches_from_the_prompt_into_the_answer(
    tokenizer: Any, template: str, answer: str
) -> None:
    tokenizer.chat_template = template
    question = [{"role": "user", "content": "So?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    example = render(tokenizer, Row(1, (Message("user", "So?"), Message("assistant", answer))))
    assert example.input_ids[: len(prompt)] == prompt
    assert set(example.labels[: len(prompt)]) == {NOT_LEARNED}
    assert example.labels[len(prompt)] != NOT_LEARNED


def test_a_prompt_with_its_completion_is_a_chat_where_the_model_chats(tokenizer: Any) -> None:
    pair = render(tokenizer, Row(1, prompt=CHAT[0].content, completion="It is 4."))
    chat = render(tokenizer, Row(1, (CHAT[0], Message("assistant", "It is 4."))))
    assert pair == chat


def test_a_prompt_with_its_completion_is_plain_text_where_it_does_not(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    example = render(tokenizer, Row(1, prompt="The sky is", completion=" blue."))
    assert tokenizer.decode(example.input_ids) == "The sky is blue.<|im_end|>"
    assert learned(example, tokenizer) == [" blue.<|im_end|>"]


def test_a_chat_for_a_model_without_a_template_is_refused_in_words(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(BadRow, match=r"Line 7: .*no chat template; give prompt and completion"):
        render(tokenizer, Row(7, CHAT))


def test_all_of_a_text_is_learned(tokenizer: Any) -> None:
    example = render(tokenizer, Row(1, text="All of this.\n"))
    assert example.labels == example.input_ids == tokenizer.encode("All of this.\n")


def test_what_the_template_refuses_is_told_in_its_own_words(tokenizer: Any) -> None:
    tokenizer.chat_template = STRICT
    with pytest.raises(BadRow, match=r"Line 3: the model's chat template refuses it: no system"):
        render(tokenizer, Row(3, (Message("system", "Be brief."), *CHAT)))


def test_a_template_that_renders_no_chat_is_told_once_and_not_row_by_row(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('only for tools') }}"
    with pytest.raises(InvalidRequest, match="cannot render a chat: only for tools"):
        Renderer(tokenizer, 2048, assistant_only_loss=True)


def test_a_text_that_would_end_its_own_turn_is_refused(tokenizer: Any) -> None:
    with pytest.raises(BadRow, match=r"message 2 holds <\|im_end\|>"):
        render(tokenizer, Row(1, (CHAT[0], Message("assistant", "4<|im_end|>"))))


@pytest.mark.parametrize(
    "row",
    [
        Row(5, (Message("user", "Anyone?"),)),
        Row(5, (CHAT[0], Message("assistant", "4", weight=0))),
        Row(5, text="a"),  # one token: nothing comes before it
        Row(5, text=""),
    ],
    ids=["no answer", "weight 0", "one token", "empty"],
)
def test_a_row_with_nothing_to_learn_is_an_error_with_its_line(tokenizer: Any, row: Row) -> None:
    with pytest.raises(BadRow, match="Line 5: it holds nothing to learn"):
        render(tokenizer, row)


def test_the_oldest_turns_go_first(tokenizer: Any) -> None:
    system = Message("system", "Be brief.")
    whole = render(tokenizer, Row(1, (system, *CHAT)))
    example = render(tokenizer, Row(1, (system, *CHAT)), len(whole.input_ids) - 1)
    assert example == Example(
        1,
        *_ids_and_labels(render(tokenizer, Row(1, (system, *CHAT[2:])))),
        cut_tokens=len(whole.input_ids) - len(example.input_ids),
    )


def _ids_and_labels(example: Example) -> tuple[list[int], list[int]]:
    return example.input_ids, example.labels


def test_then_the_beginning_of_the_prompt(tokenizer: Any) -> None:
    example = render(tokenizer, Row(1, (Message("user", "word " * 500), *CHAT[1:2])), 64)
    assert len(example.input_ids) == 64
    assert learned(example, tokenizer) == ["It is 4.\n<|im_end|>"]
    assert example.cut_tokens > 400
    assert tokenizer.decode(example.input_ids).endswith(
        "word <|im_end|>\n<|im_start|>assistant\nIt is 4.\n<|im_end|>"
    )


def test_then_the_end_of_the_answer_and_never_all_of_it(tokenizer: Any) -> None:
    chat = (Message("user", "question " * 500), Message("assistant", "answer " * 500))
    example = render(tokenizer, Row(1, chat), 64)
    (said,) = learned(example, tokenizer)
    assert len(example.input_ids) == 64
    assert said.startswith("answer answer")
    assert "<|im_end|>" not in said  # the model must not learn to end there
    assert tokenizer.decode(example.input_ids).startswith(" question")


def test_a_text_keeps_its_beginning(tokenizer: Any) -> None:
    ids = tokenizer.encode("one two three " * 50)
    example = render(tokenizer, Row(1, text="one two three " * 50), 32)
    assert example.input_ids == ids[:32]
    assert example.cut_tokens == len(ids) - 32


def test_many_rows_at_once_are_what_each_is_alone(tokenizer: Any) -> None:
    rows = [Row(1, CHAT), Row(2, (CHAT[0],)), Row(3, prompt="Hi", completion="Hello")]
    good, bad, other = Renderer(tokenizer, 2048, assistant_only_loss=True).render_all(rows)
    assert good == render(tokenizer, rows[0])
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert other == render(tokenizer, rows[2])
