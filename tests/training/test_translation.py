"""Translation tasks: what a model is taught and asked, and that it learns."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu
from num2words import num2words

from efftx.models import Sizes, encoder_decoder
from efftx.training.loop import train
from efftx.training.number_words import number_words, vocabulary
from efftx.training.optimisers import adamw
from efftx.training.translation import (
    as_arrays,
    bleu,
    greedy_decode,
    random_pairs,
    translate,
    translation_loss,
)
from efftx.training.vocabularies import END, N_SPECIAL, PAD, START, Bytes, Pieces
from efftx.training.wmt14 import wmt14

TASK = number_words(n_train=40, n_held_out=20)
SIZES = Sizes(
    n_layers=1, d_model=64, d_ff=128, n_heads=4, d_head=16, max_len=16, vocab=len(TASK.vocabulary)
)


@cache
def a_model():
    return encoder_decoder(jax.random.key(0), SIZES)


# Vocabularies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
def test_number_words_are_cut_into_words_and_put_together_again(language):
    words = vocabulary()
    numbers = [*range(1200), *np.random.default_rng(0).integers(1_000_000, size=500)]
    for text in (num2words(int(number), lang=language) for number in numbers):
        assert "".join(words.split(text)) == text
        assert words.decode(words.encode(text)) == text


def test_compounds_come_apart_where_a_reader_would_cut_them():
    spaced = vocabulary().spaced("viertausenddreihunderteinundzwanzig")
    assert spaced == "vier tausend drei hundert ein und zwanzig"
    assert vocabulary().spaced("hunderteins") == "hundert eins"


def test_the_longest_piece_is_taken_and_strangers_stand_alone():
    pieces = Pieces(("a", "ab", "abc"))
    assert pieces.split("abcabaxa") == ["abc", "ab", "a", "x", "a"]
    assert pieces.encode("abca") == [N_SPECIAL + 2, N_SPECIAL]


@pytest.mark.parametrize("words", [vocabulary(), Bytes()])
def test_decoding_stops_at_the_end_and_skips_special_tokens(words):
    tokens = words.encode("fünf")
    assert words.decode([START, *tokens, PAD, END, *tokens]) == "fünf"
    assert words.decode([*tokens, PAD]) == "fünf"
    assert max(tokens) < len(words)


def test_any_text_is_bytes():
    text = "Ünïcödé 日本 \n"
    assert Bytes().decode(Bytes().encode(text)) == text
    assert Bytes().decode([N_SPECIAL + 0xC3]) == "�"


# The task --------------------------------------------------------------------------------------


def test_training_and_held_out_pairs_are_different_and_right():
    task = number_words()
    assert (len(set(task.train)), len(set(task.held_out))) == (120, 500)
    assert not set(task.train) & set(task.held_out)
    held_out = {num2words(n): num2words(n, lang="de") for n in range(100_000, 1_000_000, 997)}
    for source, target in task.held_out:
        assert "thousand" in source
        assert held_out.get(source, target) == target
    assert len({len(source.split()) for source, _ in task.train}) > 4  # short ones and long ones


def test_the_task_comes_from_its_seed():
    assert number_words().sha256 == number_words().sha256
    assert number_words().sha256 != number_words(seed=1).sha256
    assert number_words().train[:50] == number_words(n_train=50).train
    assert number_words().held_out == number_words(n_train=50).held_out


def test_arrays_hold_the_texts():
    sources, targets = as_arrays(TASK.vocabulary, TASK.train)
    assert len(sources) == len(targets) == 40
    for row, (source, _) in zip(sources, TASK.train, strict=True):
        assert TASK.vocabulary.decode(row) == source
    for row, (_, target) in zip(targets, TASK.train, strict=True):
        assert row[0] == START
        assert TASK.vocabulary.decode(row) == target
        assert (row == END).sum() == 1
    assert (sources[:, -1] != PAD).any()  # no longer than the longest
    assert (targets[:, -1] != PAD).any()


def test_batches_are_pairs_and_come_from_seed_and_step():
    arrays = as_arrays(TASK.vocabulary, TASK.train)
    pairs = set(zip(*(map(bytes, array) for array in arrays), strict=True))
    batch = random_pairs(*arrays, seed=0, step=3, batch=16)
    assert set(zip(*(map(bytes, array) for array in batch), strict=True)) <= pairs
    np.testing.assert_array_equal(batch[0], random_pairs(*arrays, seed=0, step=3, batch=16)[0])
    assert (batch[0] != random_pairs(*arrays, seed=0, step=4, batch=16)[0]).any()
    assert (batch[0] != random_pairs(*arrays, seed=1, step=3, batch=16)[0]).any()


# Loss ------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_surprise_at_each_token_but_the_padding():
    source, target = np.array([5, 6, 7, PAD, PAD]), np.array([START, 9, 10, END, PAD, PAD])
    logits = a_model()(source[:3], target[:3])
    surprise = -jax.nn.log_softmax(logits)[np.arange(3), target[1:4]]
    loss = jax.jit(translation_loss)(a_model(), (source, target))
    assert loss == pytest.approx(float(surprise.mean()), rel=1e-5)


# Decoding --------------------------------------------------------------------------------------


def test_greedy_decoding_is_the_loop_over_the_likeliest_token():
    model = jax.tree.map(lambda x: 3 * x, a_model())  # clear preferences
    sources, _ = as_arrays(TASK.vocabulary, TASK.held_out[:4])
    run = jax.jit(lambda model, source, target: model(source, target))
    decoded = greedy_decode(model, sources, max_len=6)
    assert decoded.shape == (4, 6)
    for row, source in zip(decoded, sources, strict=True):
        target = [START]
        for _ in range(6):
            logits = run(model, source[source != PAD], np.array(target))
            target.append(int(logits[-1].argmax()))
        assert target[1:] == row.tolist()


def test_translations_do_not_depend_on_the_batch():
    model = jax.tree.map(lambda x: 3 * x, a_model())
    texts = [source for source, _ in TASK.held_out[:7]]
    run = partial(translate, model, TASK.vocabulary, max_len=6)
    assert run(texts, batch=3) == run(texts) == [run([text])[0] for text in texts]


# BLEU ------------------------------------------------------------------------------------------


def test_bleu_counts_the_pieces_of_a_compound():
    references = [target for _, target in TASK.held_out]
    assert bleu(references, references, TASK.vocabulary) == pytest.approx(100)
    turned = [re.sub("hundert", "tausend", text, count=1) for text in references]
    assert 10 < bleu(turned, references, TASK.vocabulary) < 90
    assert sacrebleu.corpus_bleu(turned, [references]).score < 1  # whole words: all wrong


def test_bleu_of_sentences_is_sacrebleus():
    translations, references = ["The cat sat on a mat."], ["The cat sat on the mat."]
    expected = sacrebleu.corpus_bleu(translations, [references]).score
    assert bleu(translations, references, Bytes()) == expected


# All together ----------------------------------------------------------------------------------


def test_it_learns_to_translate():
    task = number_words(n_train=20, n_held_out=1)
    arrays = as_arrays(task.vocabulary, task.train)
    state = train(
        a_model(),
        loss=translation_loss,
        batch_at=lambda step: random_pairs(*arrays, seed=0, step=step, batch=16),
        optimiser=adamw(150, peak=5e-3),
        n_steps=150,
        progress=False,
    )
    losses = np.asarray(state.losses)
    assert losses[0] == pytest.approx(np.log(len(task.vocabulary)), abs=0.3)
    assert losses[-10:].mean() < 0.05
    sources, references = zip(*task.train, strict=True)
    translations = translate(state.model, task.vocabulary, sources, max_len=14)
    assert bleu(translations, references, task.vocabulary) > 95


# WMT 2014 --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    texts = {
        "train": ["Good morning.\tGuten Morgen.", "\tLeer.", "A" * 300 + "\tA", "Two.\tZwei."],
        "newstest2014": ["B" * 300 + "\tB", "Three.\tDrei."],
    }
    for name, lines in texts.items():
        for i, language in enumerate(("en", "de")):
            side = "".join(line.split("\t")[i] + "\n" for line in lines)
            (tmp_path / f"{name}.{language}").write_text(side, encoding="utf-8")
    return tmp_path


def test_wmt14_reads_what_fits_and_all_of_the_test(folder):
    task = wmt14(folder)
    assert task.train == (("Good morning.", "Guten Morgen."), ("Two.", "Zwei."))
    assert task.held_out == (("B" * 300, "B"), ("Three.", "Drei."))
    assert wmt14(folder, n_train=1).train == task.train[:1]
    sources, targets = as_arrays(task.vocabulary, task.train)
    assert task.vocabulary.decode(targets[1]) == "Zwei."
    assert sources.shape == (2, len("Good morning."))


def test_the_same_loss_takes_every_task(folder):
    task = wmt14(folder)
    sizes = Sizes(n_layers=1, d_model=8, d_ff=8, n_heads=2, d_head=4, max_len=32, vocab=259)
    model = encoder_decoder(jax.random.key(0), sizes)
    losses = jax.vmap(partial(translation_loss, model))(as_arrays(task.vocabulary, task.train))
    np.testing.assert_allclose(losses, jnp.log(259), atol=0.5)
