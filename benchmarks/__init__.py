"""Speed and memory beside the machine's own limits; one file per subject.

python -m benchmarks [SUBJECT ...] [--shapes bert|minilm] [--glue FOLDER] [--corpus FOLDER]
"""

SUBJECTS = (
    "prepare_corpus",
    "general_step",
    "intermediate_step",
    "prediction_step",
    "augmentation",
    "closed_form",
    "finetuning_step",
    "inference",
    "attention_memory",
    "scaling",
    "compiling",
    "step_kernels",
)
