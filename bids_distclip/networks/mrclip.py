"""MR-CLIP: one 512-d unit vector for the contrast of an image, or for the metadata that describe it.

Two open_clip towers built from the JSON files in ``configs/``: a one-channel image tower and a text tower over
prompts (:mod:`bids_distclip.acquisition.prompt`), with a numeric branch beside it where the file has one. After Avci
et al., MR-CLIP and DIST-CLIP (arXiv 2512.07674).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import released_part, without_description
from bids_distclip.networks.compat import open_clip
from bids_distclip.networks.numbers import NumericBranch, describe_numbers

CONFIGS = Path(__file__).parent / 'configs'

#: Millimetres per pixel at which the image tower looks at a slice.
PIXEL_MM = 1.5

#: Most prompts that are embedded at a time.
AT_ONCE = 128

#: What the auxiliary heads predict from an embedding (training only; see ``training/mrclip.py``).
AUXILIARY = 20


class MRCLIP(nn.Module):
    """The two towers, the numeric branch (None without), and a linear head that reads physics off what the towers see.

    Parameters
    ----------
    config
        Name of a JSON file in ``configs/``: ``mrclip-tiny``, or ``mrclip-vit-b-16`` (the released shape).
    """

    def __init__(self, config: str = 'mrclip-tiny') -> None:
        super().__init__()
        module = open_clip()
        self.config_name = config
        self.config = json.loads((CONFIGS / f'{config}.json').read_text(encoding='utf-8'))
        towers = module.model.CLIP(
            self.config['embed_dim'], self.config['vision_cfg'], self.config['text_cfg'], quick_gelu=False
        )
        first = towers.visual.conv1
        towers.visual.conv1 = nn.Conv2d(
            1, first.out_channels, first.kernel_size, first.stride, first.padding, bias=first.bias is not None
        )
        self.towers = towers
        numbers = self.config.get('numbers_cfg')
        self.numbers = NumericBranch(self.config['embed_dim'], **numbers) if numbers else None
        self.read_out = nn.Linear(self.config['embed_dim'], AUXILIARY)
        self._tokenizer: Any = None

    @property
    def image_size(self) -> int:
        """Side of the square the image tower expects, in pixels."""
        return int(self.config['vision_cfg']['image_size'])

    def encode_image(self, images: Tensor) -> Tensor:
        """Return ``(B, 512)`` unit vectors for ``(B, 1, S, S)`` slices in intensity-scale units (1.0 = scale)."""
        return F.normalize(self.towers.visual(images.clamp(0, 2) - 0.5), dim=-1)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Return ``(B, 512)`` unit vectors for prompts: styles to render, the words' vector with what numbers add."""
        words = self.encode_words(prompts)
        return words if self.numbers is None else self.add_numbers(words, describe_numbers(prompts))

    def encode_words(self, prompts: Sequence[str]) -> Tensor:
        """Return ``(B, 512)`` unit vectors of the text tower alone, to compare with what the image tower sees."""
        if len(prompts) > AT_ONCE:
            return torch.cat([self.encode_words(prompts[i : i + AT_ONCE]) for i in range(0, len(prompts), AT_ONCE)])
        if self.config.get('prompt') == 'released':
            prompts = [self._fitting(released_part(text)) for text in prompts]
        return F.normalize(self.towers.encode_text(self.tokenize(prompts)), dim=-1)

    def add_numbers(self, words: Tensor, numbers: Tensor) -> Tensor:
        """Return ``(B, 512)`` unit vectors of words with the described numbers ``(B, N, 2)`` of their prompts."""
        assert self.numbers is not None
        return F.normalize(words + self.numbers(words, numbers.to(words.device)), dim=-1)

    def _fitting(self, text: str) -> str:
        """Return a prompt, without its description where that would push numbers out of the context."""
        end = int(self.tokenize([text])[0, -1])
        return without_description(text) if end else text

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return token ids ``(B, context)`` on the model's device; longer prompts are cut."""
        if self._tokenizer is None:
            text = self.config['text_cfg']
            path = CONFIGS / f'{self.config_name}.bpe.txt.gz'
            options = {'bpe_path': str(path)} if path.exists() else {}
            self._tokenizer = open_clip().SimpleTokenizer(context_length=text['context_length'], **options)
            if self._tokenizer.vocab_size > text['vocab_size']:
                raise ValueError(f'{path.name} has more tokens than the text tower of {self.config_name}')
        device = self.read_out.weight.device
        return self._tokenizer(list(prompts)).to(device)


def fit_slices(slices: Tensor, *, pixel: tuple[float, float], size: int) -> Tensor:
    """Bring slices ``(B, H, W)`` with ``pixel`` mm to ``(B, 1, size, size)`` at 1.5 mm, the head in the middle."""
    images = slices[:, None]
    target = [max(1, round(n * p / PIXEL_MM)) for n, p in zip(images.shape[-2:], pixel, strict=False)]
    images = F.interpolate(images, size=target, mode='bilinear', antialias=True, align_corners=False)
    present = (images.amax((0, 1)) > 0.05).nonzero()
    middle = [int(v) for v in present.float().mean(0).round()] if len(present) else [n // 2 for n in target]
    half = size // 2
    images = F.pad(images, (half, half, half, half))
    return images[..., middle[0] : middle[0] + size, middle[1] : middle[1] + size]
