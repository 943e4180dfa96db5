"""The methods text."""

from __future__ import annotations

import re
from importlib.resources import files

import yaml

from bids_distclip.reports.methods import methods_text

ENGINE = {'engine': 'distclip', 'weights_sha256': 'a1' * 32}
DONE = {'status': 'harmonized', 'target': {'name': 'p'}, 'engine': ENGINE}


def test_failed_and_skipped_images_say_nothing():
    assert methods_text([{'status': 'failed', 'preparation': {'bias_correction': 'n4'}}]) == ([], [])


def test_a_sentence_that_holds_for_two_images_is_said_once():
    sentences, references = methods_text([DONE, DONE])
    assert len(sentences) == len(set(sentences))
    assert sum('DIST-CLIP' in s for s in sentences) == 1
    assert any('2512.07674' in r for r in references)


def test_a_sentence_that_holds_for_some_images_says_for_which():
    other = {**DONE, 'source': {'family': 'T2w'}, 'engine': {**ENGINE, 'guidance': 'image'}}
    sentences, _ = methods_text([DONE, {**other}, {**other, 'source': {'family': 'FLAIR'}}])
    assert 'The target contrast was taken from a target image: p (2 of 3 images: FLAIR, T2w).' in sentences
    assert sum('(2 of 3' in s for s in sentences) == 1


def test_braces_in_values_stay_what_they_are():
    record = {**DONE, 'engine': {**ENGINE, 'guidance': 'image'}, 'target': {'name': '{engine.engine}'}}
    assert any('target image: {engine.engine}.' in s for s in methods_text([record])[0])


def test_where_the_sources_style_comes_from_is_said():
    texts = {
        guide: ' '.join(methods_text([{**DONE, 'engine': {**ENGINE, 'source_guide': guide}}])[0])
        for guide in ('image', 'metadata', 'metadata and image')
    }
    assert 'described by its acquisition metadata.' in texts['metadata']
    assert 'in part by the source image itself' in texts['metadata and image']
    assert 'described by the source image itself' in texts['image']


def test_which_tissues_were_held_is_said_of_harmonized_and_of_synthetic_images():
    def text(mode: str, family: str, **engine) -> str:
        record = {**DONE, 'source': {'family': family}, 'engine': {**ENGINE, 'mode': mode, **engine}}
        return ' '.join(methods_text([record])[0])

    held = {'tissue_held': {'CGM': [0.5, 0.6]}}
    assert 'Medians of white matter, cortical gray matter and fluid' in text('residual', 'T1w', **held)
    assert 'Medians of white matter and cortical gray matter' in text('residual', 'T2w', **held)
    assert 'Its medians of white matter and cortical gray matter' in text('synthesis', 'T1w', **held)
    assert 'Medians of white' not in text('synthesis', 'T1w', **held)
    assert 'edians of white' not in text('synthesis', 'T1w') + text('residual', 'T1w')


def test_long_hashes_are_shortened():
    text = ' '.join(methods_text([DONE])[0])
    assert 'SHA-256 a1a1a1a1a1a1…' in text


def test_every_citation_has_its_reference_and_every_reference_a_citation():
    spec = yaml.safe_load((files('bids_distclip.reports') / 'methods.yaml').read_text(encoding='utf-8'))
    cited = {key for rule in spec['sentences'] for key in rule.get('cite', ())}
    assert cited == set(spec['references'])
    for rule in spec['sentences']:
        named = re.findall(r'(?:\(|; |follows )([\w\s]+?) et al', rule['text'])
        assert len(named) == len(rule.get('cite', ()))
