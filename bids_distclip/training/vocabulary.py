"""Learn the small text tower's vocabulary: byte-pair merges of the prompts it will read.

``python -m bids_distclip.training.vocabulary`` rewrites ``networks/configs/mrclip-tiny.bpe.txt.gz``. Needs the
``tokenizers`` library, which training itself does not.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from bids_distclip.networks.mrclip import CONFIGS
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.training.prompts import training_prompt

#: Most merges to learn; with 256 bytes, their word-final forms and two special tokens they must fit the text tower.
MERGES = 382


def sample_prompts(count: int, *, seed: int = 0) -> list[str]:
    """Return training prompts in lower case."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        protocol = draw_protocol(rng)
        plane = str(rng.choice(['axial', 'coronal', 'sagittal']))
        made.append(training_prompt(protocol.acquisition, rng, family=protocol.family, plane=plane).lower())
    return made


def learn_merges(prompts: list[str], *, merges: int = MERGES) -> list[str]:
    """Return merge rules ``a b`` in order; words are split as open_clip's tokenizer splits them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix='</w>'))
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior='removed', invert=True)
    trainer = trainers.BpeTrainer(vocab_size=100_000, end_of_word_suffix='</w>', min_frequency=2, show_progress=False)
    tokenizer.train_from_iterator(prompts, trainer)
    rules = json.loads(tokenizer.to_str())['model']['merges']
    return [' '.join(rule) if isinstance(rule, list) else rule for rule in rules][:merges]


def write_vocabulary(path: Path, rules: list[str]) -> None:
    """Write the rules in open_clip's file format, reproducibly."""
    text = '\n'.join(['#version: 0.2', *rules])
    path.write_bytes(gzip.compress(text.encode('utf-8'), mtime=0))


if __name__ == '__main__':
    learned = learn_merges(sample_prompts(20_000))
    write_vocabulary(CONFIGS / 'mrclip-tiny.bpe.txt.gz', learned)
    print(f'{len(learned)} merges')
