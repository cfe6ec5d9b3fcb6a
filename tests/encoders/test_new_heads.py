"""A new head of several labels begins with the shares of train; a fitted one is kept."""

import pytest
import torch

from tests.fixtures.measured import task_info
from tests.fixtures.models import save_pretrained
from tinybert.encoders.checkpoints import head_class, load_classifier
from tinybert.encoders.classifier import new_classifier
from tinybert.settings.heads import kind_of_head

INFO = task_info("m", ["a", "b", "c"], ["f1_micro"], pair=False).model_copy(
    update={"kind": "multilabel", "shares": [0.5, 0.1, 0.0]}
)


def test_a_new_head_gives_each_label_its_share_and_a_fitted_one_stays(tmp_path):
    folder = save_pretrained(tmp_path / "encoder")
    model = new_classifier(folder, INFO, 0)
    shares = torch.sigmoid(model.classifier.bias).tolist()
    assert shares == pytest.approx([0.5, 0.1, 1e-4], rel=1e-3)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([1.0, 0.0, 2.0]))
    model.save_pretrained(folder)
    assert new_classifier(folder, INFO, 0).classifier.bias.tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("multilabel", "BertForSequenceClassification"),
        ("tokens", "BertForTokenClassification"),
        ("span", "BertForQuestionAnswering"),
    ],
)
def test_each_kind_has_its_head_and_is_known_by_it(tmp_path, kind, name):
    folder = save_pretrained(tmp_path / "encoder")
    info = INFO.model_copy(update={"kind": kind, "shares": []})
    labels = [] if kind == "span" else info.labels
    model = new_classifier(folder, info.model_copy(update={"labels": labels}), 0)
    assert type(model).__name__ == name
    model.save_pretrained(folder)
    assert type(load_classifier(folder)).__name__ == name
    assert head_class(kind_of_head([name])) is head_class(kind)
