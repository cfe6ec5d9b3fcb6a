"""Fetch the pretrained teacher, and a masked-word model of it, its head trained if it has none.

python -m stages.fetch_teacher
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from stages import doctor, run
from tinybert.closed_form.masked_head import has_closed_form, keep_layers, start_in_closed_form
from tinybert.distillation.masked_lm import MaskedWords, masked_accuracy, masked_samples
from tinybert.encoders.checkpoints import (
    load_config,
    load_encoder,
    load_masked_lm,
    load_tokenizer,
    missing_weights,
    require_mask,
)
from tinybert.encoders.positions import require_positions
from tinybert.encoders.sections import FetchTeacherSettings
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file, replace_folder, write_json
from tinybert.runtime.precision import Precision, autocast_dtype
from tinybert.settings.reader import read_param, read_section
from tinybert.text.encoded import Blocks
from tinybert.training.run import Run
from tinybert.training.training import empty_history, train

CORPUS, PRETRAINED = Path("data/corpus"), Path("models/pretrained")
HISTORY, METRICS = Path("reports/training/fetch_teacher/mlm.csv"), Path("reports/pretrained.json")
MASKED_LM = "masked_lm"
HELD_OUT_BLOCKS = 128
# The commonest piece is about a twentieth of English text, so whoever always guesses it finds as
# many; BERT finds half of them or more.
FEW_FOUND = 0.1
FEWEST_BLOCKS = 8  # of which a share can be told


def fetch_teacher(
    source: Path, corpus: Path, settings: FetchTeacherSettings, how: Run, folder: Path
) -> dict[str, Any]:
    """Write the teacher to `folder` and its masked-word model, if asked for, to `folder`/masked_lm.

    Returns:
        The masked-word model's measures.
    """
    tokenizer = load_tokenizer(source)
    length = Blocks(corpus).blocks.shape[1]
    require_positions(length, load_config(source), "prepare_corpus.block_length")
    model: PreTrainedModel | None = None
    history, measures = empty_history(), dict[str, Any]()
    if settings.masked_lm:
        require_mask(tokenizer, source)
        model, history, measures = _masked_lm(source, tokenizer, corpus, settings, how)
    trained = model is not None and settings.teacher_encoder == "trained"
    teacher = model.base_model if model is not None and trained else load_encoder(source)
    with replace_folder(folder) as partial:
        for each, place in ((teacher, partial), (model, partial / MASKED_LM)):
            if each is not None:
                each.save_pretrained(place)
                tokenizer.save_pretrained(place)
    with replace_file(HISTORY) as file:
        history.to_csv(file, index=False)
    return measures


def _masked_lm(
    source: Path, tokenizer: Any, corpus: Path, settings: FetchTeacherSettings, how: Run
) -> tuple[PreTrainedModel, pd.DataFrame, dict[str, Any]]:
    """Load the masked-word model, train its head if it has none, and measure it."""
    torch.manual_seed(how.seed)
    model = load_masked_lm(source, new_head=True)
    lacks_head = any("pooler" not in name for name in missing_weights(AutoModelForMaskedLM, source))
    trained_here = lacks_head or settings.train_always
    if trained_here and settings.num_hidden_layers is not None:
        keep_layers(model, settings.num_hidden_layers)
    masked_words = MaskedWords(model, tokenizer, settings.freeze_encoder, settings.masked_share)
    num_blocks = len(Blocks(corpus))
    held_out = min(HELD_OUT_BLOCKS, max(1, num_blocks // 10))
    history = empty_history()
    accuracy = 0.0
    if not lacks_head:
        accuracy = _found_share(masked_words, corpus, held_out, tokenizer, how)
        if held_out >= FEWEST_BLOCKS and (doubt := head_doubt(accuracy)):
            print(f"doubt: {source}: {doubt}", flush=True)
    if trained_here:
        # A single block is trained on too.
        rows, pad = Blocks(corpus, start=held_out % num_blocks), tokenizer.pad_token_id
        if lacks_head and settings.closed_form_blocks and has_closed_form(model):
            start_in_closed_form(masked_words, rows, settings.closed_form_blocks, pad, how.seed)
        history, _ = train(masked_words, rows, pad, settings, how)
        accuracy = _found_share(masked_words, corpus, held_out, tokenizer, how)
    for sample in masked_samples(masked_words, Blocks(corpus, stop=held_out), tokenizer, how.dtype):
        print(f"fetch_teacher: {sample}", flush=True)
    measures = {
        "head_trained_here": trained_here,
        "masked_token_accuracy": accuracy,
        "held_out_blocks": held_out,
    }
    return model, history, measures


def _found_share(
    masked_words: MaskedWords, corpus: Path, held_out: int, tokenizer: Any, how: Run
) -> float:
    held = Blocks(corpus, stop=held_out)
    return masked_accuracy(masked_words, held, tokenizer.pad_token_id, how.dtype, how.seed)


def head_doubt(accuracy: float) -> str:
    """Say that a checkpoint's own masked-word head finds what chance would; nothing if it does not.

    Args:
        accuracy: Share of held-out masked pieces that it finds, before any training.
    """
    if accuracy >= FEW_FOUND:
        return ""
    return (
        f"its masked-word head finds almost nothing, got {accuracy:.1%} of hidden words where "
        f"{FEW_FOUND:.0%} is chance and BERT finds half; the tokenizer beside it may be another "
        "model's (cased beside uncased), or the text in another language"
    )


def main() -> str:
    """Read the settings and fetch the teacher."""
    settings = read_section("fetch_teacher", FetchTeacherSettings)
    teacher = read_section("teacher", TeacherSource)
    source = locate_teacher(teacher, Path(read_param("sources.teacher", str)))
    doctor().augmentation("fetch_teacher", source)
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    read = {"settings": settings.model_dump(), "seed": seed, "precision": precision}
    kept = checkpoints_folder("fetch_teacher", read, [source, CORPUS])
    dtype = autocast_dtype(precision)
    how = Run("fetch_teacher", kept, seed, dtype, save_steps=settings.save_steps)
    measures = fetch_teacher(source, CORPUS, settings, how, PRETRAINED)
    with replace_file(METRICS) as file:
        write_json(measures, file)
    how.finish()
    if not measures:
        return f"made the teacher in {PRETRAINED}, without a masked-word model"
    share = measures["masked_token_accuracy"]
    return (
        f"made the teacher in {PRETRAINED} and its masked-word model beside it "
        f"(finds {share:.1%} of masked held-out tokens)"
    )


if __name__ == "__main__":
    run(main)
