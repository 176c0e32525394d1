"""Make golden/chat: token ids and masks of conversations, by Transformers' own chat template code.

    pip install -r requirements.txt
    python make_chat.py SmolLM2.gguf    # any GGUF of SmolLM2-Instruct: its template is read

Versions: transformers 5.24.0, tokenizers 0.23.3, gguf 0.19.0. Written next to this script:

  chat/tokenizer.json          byte-level BPE of a few hundred tokens, with the special tokens of all templates below
  chat/FAMILY/chat_template.jinja, tokenizer_config.json
  chat/cases.jsonl             {"family", "row", "ids", "masks": {TRAIN_ON: "0011"}}, or {"family", "row", "error"}

smollm2 is that model's own template. The others do what the public templates of their families do: a default system
message (qwen2), a begin token and trimmed contents (llama3, gemma), no system role (gemma, mistral), roles that must
alternate, the system message moved into the last user turn (mistral-v3), earlier reasoning dropped (qwen3).

Ids are those of `apply_chat_template(tokenize=True)`. Masks are found in two ways that must agree wherever both work:

  1. by ids: the conversation up to a turn, with the generation prompt, must be a prefix of the whole, id by id;
  2. by `return_assistant_tokens_mask`, with the same template in which the assistant's part is marked by hand with
     {% generation %} (`marks`), and which must render the same text.

Behind the last token of its own (end of turn) in a turn, white space is not trained.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, decoders, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent / "chat"
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>",
]
OPEN, CLOSE = "{% generation %}", "{% endgeneration %}"

CHATML_TURN = "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
CHATML_MARKED = (
    "{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}" + OPEN
    + "{{ message['content'] + '<|im_end|>' }}" + CLOSE + "{{ '\\n' }}{% else %}" + CHATML_TURN + "{% endif %}"
)

QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" + CHATML_TURN
    + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

LLAMA3 = """{% set loop_messages = messages %}
{% for message in loop_messages %}
    {% set head = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' %}
    {% if loop.index0 == 0 %}
        {% set head = bos_token + head %}
    {% endif %}
    {{- head }}
    {#- the turn -#}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

MISTRAL = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' -}}
{% elif message['role'] == 'assistant' %}
{{ ' ' + message['content'] + eos_token -}}
{% else %}
{{ raise_exception('Only user and assistant roles are supported') }}
{% endif %}
{% endfor %}"""

MISTRAL_V3 = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if message == user_messages[-1] and system_message is defined %}
            {{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] | trim + eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported, with the exception of an initial system message') }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' -}}
{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

QWEN3 = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == 'user' and not message.content.startswith('<tool_response>') %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role in ['user', 'system'] %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content if message.content is string else '' %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_query and (loop.last or reasoning) %}
            {{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content }}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- set call = call.function if call.function else call %}
                {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
                {{- call.arguments if call.arguments is string else call.arguments | tojson }}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

# Family: template, bos, eos, marks (old, new).
FAMILIES = {
    "smollm2": (None, "<|im_start|>", "<|im_end|>", None),
    "qwen2": (QWEN2, None, "<|im_end|>", [(CHATML_TURN, CHATML_MARKED)]),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>", [(
        "    {{- message['content'] | trim + '<|eot_id|>' }}\n",
        "    {%- if message['role'] == 'assistant' -%}" + OPEN + "{{- message['content'] | trim + '<|eot_id|>' }}" + CLOSE
        + "{%- else -%}{{- message['content'] | trim + '<|eot_id|>' }}{%- endif -%}\n",
    )]),
    "mistral": (MISTRAL, "<s>", "</s>", [(
        "{{ ' ' + message['content'] + eos_token -}}", OPEN + "{{ ' ' + message['content'] + eos_token -}}" + CLOSE,
    )]),
    "mistral-v3": (MISTRAL_V3, "<s>", "</s>", [(
        "{{- ' ' + message['content'] | trim + eos_token }}",
        OPEN + "{{- ' ' + message['content'] | trim + eos_token }}" + CLOSE,
    )]),
    "gemma": (GEMMA, "<bos>", "<eos>", [(
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' -}}",
        "{{ '<start_of_turn>' + role + '\\n' }}{% if role == 'model' %}" + OPEN
        + "{{ message['content'] | trim + '<end_of_turn>' }}" + CLOSE
        + "{% else %}{{ message['content'] | trim + '<end_of_turn>' }}{% endif %}{{ '\\n' -}}",
    )]),
    "qwen3": (QWEN3, None, "<|im_end|>", [
        ("{{- '<|im_start|>assistant\\n' }}\n        {%- if loop", "{{- '<|im_start|>assistant\\n' }}" + "{%- generation %}" + "\n        {%- if loop"),
        ("        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == 'tool'", "        {{- '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}\n    {%- elif message.role == 'tool'"),
    ]),
}


def turn(role, content):
    return {"role": role, "content": content}


SYSTEM = turn("system", "You answer in one word.")
ONE = [turn("user", "What is the capital of France?"), turn("assistant", "Paris.")]
TWO = [
    turn("user", "  Say \"hi\", then\nstop; it's 12 °C. "), turn("assistant", " Hi — naïve \U0001f600 <b>&amp;</b>\n"),
    turn("user", "And\tnow?"), turn("assistant", "Nothing.\n\n"),
]
THINK = [
    turn("user", "2 + 2?"), turn("assistant", "<think>\ntwo and two\n</think>\n\n4"),
    turn("user", "And 3 more?"), turn("assistant", "<think>\n4 + 3\n</think>\n\n7"),
]
CALLS = [
    turn("user", "How warm is it?"),
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"place": "Genève", "days": [1, 2], "now": True}}}]},
    turn("tool", "{\"degrees\": 12}"), turn("assistant", "It is 12 °C."),
]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "it's <the> weather", "parameters": {"z": 1, "a": None}}}]
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
ALPACA_INPUT = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"

# Row, its messages, how many of them are a prompt, its tools.
CONVERSATIONS = [
    ({"messages": ONE}, ONE, 0, None),
    ({"messages": TWO}, TWO, 0, None),
    ({"messages": [SYSTEM] + ONE}, [SYSTEM] + ONE, 0, None),
    ({"messages": [SYSTEM] + TWO}, [SYSTEM] + TWO, 0, None),
    ({"messages": THINK}, THINK, 0, None),
    ({"messages": [turn("assistant", "Hello!")] + ONE}, [turn("assistant", "Hello!")] + ONE, 0, None),
    ({"messages": ONE + [turn("user", "Thanks.")]}, ONE + [turn("user", "Thanks.")], 0, None),
    ({"messages": [ONE[0], turn("assistant", "")]}, [ONE[0], turn("assistant", "")], 0, None),
    ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
     [turn("user", "Hi"), turn("assistant", "Hello.")], 0, None),
    ({"prompt": TWO[:3], "completion": TWO[3:]}, TWO, 3, None),
    ({"instruction": "Say it in French.", "input": "good day", "output": "bonjour"},
     [turn("user", "Say it in French.\n\ngood day"), turn("assistant", "bonjour")], 0, None),
    ({"instruction": "Count to two.", "input": "", "output": "1, 2"},
     [turn("user", "Count to two."), turn("assistant", "1, 2")], 0, None),
]
WITH_TOOLS = [({"messages": CALLS, "tools": TOOLS}, CALLS, 0, TOOLS)]


def make_tokenizer():
    """A byte-level BPE that has learnt from the texts above, as GPT-2 and its kin are built."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # As in those models: it takes the spaces out of the offsets.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [message["content"] for _, messages, _, _ in CONVERSATIONS for message in messages]
    tokenizer.train_from_iterator(texts + [ALPACA, QWEN2, "assistant\nuser\nsystem\n model\n"], trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer


def behind_the_end(tokenizer, ids, span):
    """The span without the white space behind its last token of its own."""
    added = set(tokenizer.added_tokens_decoder)
    last = max((i for i in span if ids[i] in added), default=None)
    if last is not None and not tokenizer.decode([ids[i] for i in span if i > last]).strip():
        return [i for i in span if i <= last]
    return span


def spans_by_ids(tokenizer, ids, messages, tools, turns):
    """Of each turn its positions, or None if no prefix is one."""
    def render(part, prompt):
        try:
            return tokenizer.apply_chat_template(part, tools=tools, add_generation_prompt=prompt, return_dict=False)
        except Exception:
            return None

    found = []
    for i in turns:
        before, upto = render(messages[:i], True) if i else None, render(messages[: i + 1], False)
        if not before or not upto or ids[: len(before)] != before or ids[: len(upto)] != upto:
            return None
        found.append(behind_the_end(tokenizer, ids, list(range(len(before), len(upto)))))
    return found


def spans_by_marks(tokenizer, marked, messages, tools, turns):
    out = tokenizer.apply_chat_template(
        messages, tools=tools, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
    )
    spans, open_ = [], False
    for i, (token, bit) in enumerate(zip(out["input_ids"], out["assistant_masks"])):
        if bit and not open_:
            spans.append([])
        if bit:
            spans[-1].append(i)
        open_ = bool(bit)
    every = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    assert len(spans) == len(every), (messages, spans)
    return [span for i, span in zip(every, spans) if i in turns]


def conversation_case(family, tokenizer, marked, row, messages, prompt, tools):
    case = {"family": family, "row": row}
    try:
        ids = tokenizer.apply_chat_template(messages, tools=tools, return_dict=False)
    except Exception as error:
        return {**case, "error": str(error)}
    turns = [i for i, m in enumerate(messages) if m["role"] == "assistant" and i >= prompt]
    by_ids = spans_by_ids(tokenizer, ids, messages, tools, turns)
    text = lambda template: tokenizer.apply_chat_template(messages, tools=tools, chat_template=template, tokenize=False)
    assert text(marked) == text(None), (family, text(marked), text(None))
    # Transformers asks for offsets, and those of spaces are trimmed: what is between two trained tokens is trained.
    by_marks = [list(range(min(s), max(s) + 1)) for s in spans_by_marks(tokenizer, marked, messages, tools, turns)]
    ways = "marks"
    if by_ids is not None:
        ways = "ids and marks"
        # A leading space of its own token has no offset; the ids know it.
        assert [s[-1] for s in by_ids] == [s[-1] for s in by_marks], (family, messages, by_ids, by_marks)
        assert all(set(m) <= set(i) and not tokenizer.decode([ids[j] for j in set(i) - set(m)]).strip()
                   for i, m in zip(by_ids, by_marks)), (family, messages, by_ids, by_marks)
    spans = by_ids or by_marks
    mask = lambda spans: "".join("1" if any(i in s for s in spans) else "0" for i in range(len(ids)))
    masks = {"assistant": mask(spans), "last": mask(spans[-1:]), "all": "1" * len(ids)}
    return {**case, "ids": ids, "masks": masks, "by": ways}


def plain_cases(family, tokenizer):
    """Rows that no template is asked for."""
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id]
    def pair(row, prompt, completion):
        prompt, completion = ids(prompt), ids(completion) + end
        own = "0" * len(prompt) + "1" * len(completion)
        all_ = "1" * len(own)
        return {"family": family, "row": row, "ids": prompt + completion, "masks": {"assistant": own, "last": own, "all": all_}}
    text = ids("Good day, naïve world.") + end
    ready = {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}
    three = lambda mask: {"assistant": mask, "last": mask, "all": mask}
    return [
        {"family": family, "row": {"text": "Good day, naïve world."}, "ids": text, "masks": three("1" * len(text))},
        {"family": family, "row": ready, "ids": ready["input_ids"], "masks": three("0011")},
        pair({"prompt": "Question: 1 + 1?\nAnswer:", "completion": " 2"}, "Question: 1 + 1?\nAnswer:", " 2"),
    ] + ([
        pair(row, (ALPACA_INPUT if row["input"] else ALPACA).format(**row), row["output"])
        for row, _, _, _ in CONVERSATIONS if "instruction" in row
    ] if tokenizer.chat_template is None else [])


def main():
    HERE.mkdir(exist_ok=True)
    make_tokenizer().save(str(HERE / "tokenizer.json"), pretty=False)
    field = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"]
    smollm2 = bytes(field.parts[field.data[0]]).decode()
    turn_ = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    # Its template holds line breaks within quotes.
    marked = CHATML_MARKED
    assert turn_ in smollm2
    cases = []
    for family, (template, bos, eos, marks) in {**FAMILIES, "none": (None, None, "<|endoftext|>", None)}.items():
        if family == "smollm2":
            template, marks = smollm2, [(turn_, marked)]
        names = {key: value for key, value in (("bos_token", bos), ("eos_token", eos)) if value}
        folder = HERE / family
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer_config.json").write_text(json.dumps(names) + "\n")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HERE / "tokenizer.json"), **names)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
            tokenizer.chat_template = template
            changed = template
            for old, new in marks:
                assert changed.count(old) == 1, (family, old)
                changed = changed.replace(old, new)
            for row in CONVERSATIONS + (WITH_TOOLS if family == "qwen3" else []):
                cases.append(conversation_case(family, tokenizer, changed, *row))
        if family in ("smollm2", "none"):
            cases += plain_cases(family, tokenizer)
    with open(HERE / "cases.jsonl", "w") as out:
        for case in cases:
            out.write(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(len(cases), "cases;", sum("error" in c for c in cases), "refused;",
          sum(c.get("by") == "ids and marks" for c in cases), "masks by both ways")


main()
