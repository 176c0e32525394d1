"""Make generate/: what Transformers generates from the tiny models that
make_golden.py makes, and the probabilities that it draws from.

    pip install -r requirements.txt
    python make_generate.py

  generate/greedy.json    for each case and for base model and adapter: prompt, greedy
                          tokens up to the models' context, with and without a
                          repetition penalty, and the least margin between the
                          two largest logits of a step (rounding is about 1e-6; a case
                          of families.py with less than LEAST_MARGIN takes another seed)
  generate/sampling.json  logits, text so far, settings, and the probability of
                          every token after Transformers' own logits processors
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from experts import checkpoint_names, is_mixture, split
from families import FAMILIES
from make_golden import CASES

HERE = Path(__file__).resolve().parent
LEAST_MARGIN = 1e-3
PROMPT = [5, 17, 42, 8, 23]
CONTEXT = 64


def greedy(model, penalty):
    out = model.generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        do_sample=False,
        max_new_tokens=CONTEXT - len(PROMPT),
        repetition_penalty=penalty,
        eos_token_id=None,
        pad_token_id=0,
        use_cache=True,
        return_dict_in_generate=True,
        output_scores=True,
    )
    two = torch.stack([scores[0].topk(2).values for scores in out.scores])
    tokens = out.sequences[0, len(PROMPT) :].tolist()
    return {"tokens": tokens, "margin": float((two[:, 0] - two[:, 1]).min())}


def main():
    torch.set_num_threads(1)
    out = HERE / "generate"
    out.mkdir(exist_ok=True)
    lines = []
    for case in CASES:
        model = AutoModelForCausalLM.from_pretrained(HERE / case, dtype=torch.float32).eval()
        of_base = {str(p): greedy(model, p) for p in (1.0, 1.3)}
        if is_mixture(model.config):
            model = split(model)
        with checkpoint_names():
            model = PeftModel.from_pretrained(model, HERE / case / "adapter").eval()
        of_adapter = {str(p): greedy(model, p) for p in (1.0, 1.3)}
        least = min(run["margin"] for run in [*of_base.values(), *of_adapter.values()])
        print(f"{case}: least margin {least:.1e}")
        assert case not in FAMILIES or least >= LEAST_MARGIN, case
        lines.append(f'{json.dumps(case)}: {json.dumps({"base": of_base, "adapter": of_adapter})}')
    cases = ",\n".join(lines)
    (out / "greedy.json").write_text(f'{{"prompt": {json.dumps(PROMPT)}, "cases": {{\n{cases}\n}}}}\n')

    torch.manual_seed(0)
    rows = []
    for temperature, top_k, top_p, penalty in [
        (1.0, 0, 1.0, 1.0),
        (0.5, 0, 1.0, 1.0),
        (1.7, 5, 1.0, 1.0),
        (1.0, 0, 0.6, 1.0),
        (0.8, 12, 0.8, 1.3),
        (2.5, 3, 0.2, 0.8),
    ]:
        logits = torch.randn(1, 40) * 3
        text = torch.randint(0, 40, (1, 25))
        steps = LogitsProcessorList()
        if penalty != 1.0:
            steps.append(RepetitionPenaltyLogitsProcessor(penalty))
        if temperature != 1.0:
            steps.append(TemperatureLogitsWarper(temperature))
        if top_k:
            steps.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            steps.append(TopPLogitsWarper(top_p))
        shares = steps(text, logits.clone()).double().softmax(-1)[0]
        rows.append(
            {
                "logits": logits[0].tolist(),
                "text": text[0].tolist(),
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "repetition_penalty": penalty,
                "probabilities": shares.tolist(),
            }
        )
    (out / "sampling.json").write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
