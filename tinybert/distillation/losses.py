"""The paper's losses (Jiao et al. 2020, arXiv 1909.10351) in its order, then the other systems'.

Shape suffixes: B batch, H heads, L tokens, D width, C classes; _S student, _T teacher. Where words
are found, B counts hidden places and C the vocabulary. Masks are boolean, True for a real token,
and padding never counts, so padding a batch changes no loss. Every mean is taken in float32
whatever the inputs' dtype.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor
from torch.autograd.function import once_differentiable

from tinybert.encoders.signals import QueryKey, QueryKeyValue

RELATIONS_AT_ONCE = 1 << 20  # values of a map of relations that are made at once: 4 MB


def attention_loss(attention_S: QueryKey, attention_T: QueryKey, mask_BL: Tensor) -> Tensor:
    """Match attention scores before the softmax (Eq. 7), without making them.

    With Q = [Q_S / sqrt(D_S), -Q_T / sqrt(D_T)] and K = [K_S, K_T], joined along the head's width,
    Q K^T is the difference of the scores, and ||Q K^T||^2 = sum((Q^T Q) * (K^T K)). The smaller
    product is taken: (L, L) for short rows, Grams D_S + D_T wide for long ones. So memory grows
    with L, not with L^2.

    Args:
        attention_S: Student's queries and keys; its D may differ from the teacher's.
        attention_T: Teacher's queries and keys.
        mask_BL: True for a real token, False for padding.

    Returns:
        Squared error, averaged over heads and pairs of real tokens; a scalar.

    Raises:
        ValueError: The shapes differ in more than D, for instance in the number of heads.
    """
    _require_same_shape("queries", attention_S.query[..., 0], attention_T.query[..., 0])
    query_S = attention_S.query.float() * attention_S.scaling
    query_T = attention_T.query.float() * -attention_T.scaling
    query_BHLD = _joined(query_S, query_T, mask_BL)
    key_BHLD = _joined(attention_S.key.float(), attention_T.key.float(), mask_BL)
    _, num_heads, num_tokens, width = query_BHLD.shape
    if num_tokens <= width:
        squared = (query_BHLD @ key_BHLD.mT).square().sum()
    else:
        squared = ((query_BHLD.mT @ query_BHLD) * (key_BHLD.mT @ key_BHLD)).sum()
    return squared / (num_heads * mask_BL.sum(dim=1).square().sum())


def hidden_loss(hidden_S_BLD: Tensor, hidden_T_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Match the outputs of a layer (Eq. 8).

    Args:
        hidden_S_BLD: Student's hidden states, already projected to the teacher's width.
        hidden_T_BLD: Teacher's hidden states.
        mask_BL: True for a real token, False for padding.

    Returns:
        Squared error, averaged over real tokens and width; a scalar.

    Raises:
        ValueError: The shapes differ, for instance for want of a projection.
    """
    _require_same_shape("hidden states", hidden_S_BLD, hidden_T_BLD)
    width = hidden_S_BLD.shape[-1]
    error_BL = (hidden_S_BLD.float() - hidden_T_BLD.float()).square().sum(dim=-1)
    return _masked_sum(error_BL, mask_BL) / (width * mask_BL.sum())


def embedding_loss(embedding_S_BLD: Tensor, embedding_T_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Match the outputs of the embedding layer, after its LayerNorm (Eq. 9).

    Arguments, result and errors as for `hidden_loss`.
    """
    return hidden_loss(embedding_S_BLD, embedding_T_BLD, mask_BL)


def prediction_loss(logits_S_BC: Tensor, logits_T_BC: Tensor, temperature: float = 1.0) -> Tensor:
    """Match the teacher's softened class probabilities (Eq. 10).

    Args:
        logits_S_BC: Student's logits.
        logits_T_BC: Teacher's logits, classes in the same order.
        temperature: Divides both logits.

    Returns:
        Cross-entropy, summed over classes and averaged over the batch; a scalar.

    Raises:
        ValueError: The shapes differ, for instance in the number of classes.
    """
    _require_same_shape("logits", logits_S_BC, logits_T_BC)
    probs_T_BC = F.softmax(logits_T_BC.float() / temperature, dim=-1)
    log_probs_S_BC = F.log_softmax(logits_S_BC.float() / temperature, dim=-1)
    return -(probs_T_BC * log_probs_S_BC).sum(dim=-1).mean()


def regression_loss(score_S_B: Tensor, score_T_B: Tensor) -> Tensor:
    """Match scores of a regression task: the teacher's (Eq. 10's part there), or gold ones.

    Returns:
        Squared error, averaged over the batch; a scalar.

    Raises:
        ValueError: The shapes differ.
    """
    _require_same_shape("scores", score_S_B, score_T_B)
    return F.mse_loss(score_S_B.float(), score_T_B.float())


def label_loss(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Match gold labels: the cross-entropy of ordinary fine-tuning (Devlin et al. 2019, 4.1).

    Returns:
        Cross-entropy, averaged over the batch; a scalar.
    """
    return F.cross_entropy(logits_BC.float(), labels_B)


def kl_loss(logits_S_BC: Tensor, logits_T_BC: Tensor, temperature: float) -> Tensor:
    """Match softened probabilities (Hinton et al. 2015, 1503.02531, section 2.1).

    PKD's soft labels and DistilBERT's distribution over words.

    Args:
        logits_S_BC: Student's logits.
        logits_T_BC: Teacher's logits, classes in the same order.
        temperature: t, which divides both logits.

    Returns:
        t^2 KL(teacher || student), summed over classes and averaged over the batch; a scalar.

    Raises:
        ValueError: The shapes differ, for instance in the number of classes.
    """
    _require_same_shape("logits", logits_S_BC, logits_T_BC)
    log_probs_T_BC = F.log_softmax(logits_T_BC.float() / temperature, dim=-1)
    log_probs_S_BC = F.log_softmax(logits_S_BC.float() / temperature, dim=-1)
    divergence = F.kl_div(log_probs_S_BC, log_probs_T_BC, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def patient_loss(cls_S_BD: Tensor, cls_T_BD: Tensor) -> Tensor:
    """Match the direction of a layer's [CLS] states (PKD, Sun et al. 2019, 1908.09355, 3.2).

    Args:
        cls_S_BD: Student's states of the first token.
        cls_T_BD: Teacher's.

    Returns:
        Squared error of the states at length 1, averaged over the batch and width, as the authors'
        weights expect (the paper's sum over width is D times as much); a scalar.

    Raises:
        ValueError: The shapes differ: PKD has no projection.
    """
    _require_same_shape("[CLS] states", cls_S_BD, cls_T_BD)
    return F.mse_loss(F.normalize(cls_S_BD.float(), dim=-1), F.normalize(cls_T_BD.float(), dim=-1))


def several_labels_loss(logits_BC: Tensor, labels_BC: Tensor) -> Tensor:
    """Match gold labels of which a row may have any number.

    Args:
        logits_BC: A logit for each label.
        labels_BC: 1 where the row has the label, 0 where it has not.

    Returns:
        Binary cross-entropy, summed over labels and averaged over the batch; a scalar.
    """
    return _binary_cross_entropy(logits_BC.float(), labels_BC.float())


def binary_prediction_loss(
    logits_S_BC: Tensor, logits_T_BC: Tensor, temperature: float = 1.0
) -> Tensor:
    """Match the teacher's probability of each label by itself (Eq. 10, one label against none).

    Source: Yang et al. 2023, 2308.06453, section 3.1: several labels are as many binary tasks.

    Args:
        logits_S_BC: Student's logits.
        logits_T_BC: Teacher's logits, labels in the same order.
        temperature: Divides both logits.

    Returns:
        Binary cross-entropy, summed over labels and averaged over the batch; a scalar.

    Raises:
        ValueError: The shapes differ, for instance in the number of labels.
    """
    _require_same_shape("logits", logits_S_BC, logits_T_BC)
    probs_T_BC = torch.sigmoid(logits_T_BC.float() / temperature)
    return _binary_cross_entropy(logits_S_BC.float() / temperature, probs_T_BC)


def binary_kl_loss(logits_S_BC: Tensor, logits_T_BC: Tensor, temperature: float) -> Tensor:
    """Match softened probabilities of each label by itself, as `kl_loss` does those of classes.

    Returns:
        t^2 KL(teacher || student), summed over labels and averaged over the batch; a scalar.
    """
    scaled_T_BC = logits_T_BC.float() / temperature
    entropy = _binary_cross_entropy(scaled_T_BC, torch.sigmoid(scaled_T_BC))
    cross = binary_prediction_loss(logits_S_BC, logits_T_BC, temperature)
    return temperature**2 * (cross - entropy)


def _binary_cross_entropy(logits_BC: Tensor, probs_BC: Tensor) -> Tensor:
    """Sum over labels, as over classes, and average over rows: the likelihood of a row's labels."""
    summed = F.binary_cross_entropy_with_logits(logits_BC, probs_BC, reduction="sum")
    return summed / len(logits_BC)


def masked_word_loss(logits_BC: Tensor, ids_B: Tensor) -> Tensor:
    """Find hidden words (Devlin et al. 2019, 1810.04805, section 3.1).

    Args:
        logits_BC: Logits over the vocabulary at the hidden places.
        ids_B: The words that stood there.

    Returns:
        Cross-entropy, averaged over the hidden places; a scalar.
    """
    return F.cross_entropy(logits_BC.float(), ids_B)


def next_sentence_loss(logits_BC: Tensor, follows_B: Tensor) -> Tensor:
    """Tell whether the second segment follows the first (Devlin et al. 2019, section 3.1).

    Args:
        logits_BC: Two logits per row: it follows, it does not.
        follows_B: 1 where it follows, 0 where it does not, negative where there is no second one.

    Returns:
        Cross-entropy, averaged over the rows with two segments; a scalar, 0 without any.
    """
    known_B = follows_B >= 0
    target_B = torch.where(known_B, 1 - follows_B, -100).long()
    summed = F.cross_entropy(logits_BC.float(), target_B, ignore_index=-100, reduction="sum")
    return summed / known_B.sum().clamp(min=1)


def cosine_loss(hidden_S_BLD: Tensor, hidden_T_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Align the directions of hidden states (DistilBERT, Sanh et al. 2019, 1910.01108, 2).

    Args:
        hidden_S_BLD: Student's hidden states.
        hidden_T_BLD: Teacher's hidden states.
        mask_BL: True for a real token, False for padding.

    Returns:
        1 - cosine, averaged over real tokens; a scalar.

    Raises:
        ValueError: The shapes differ: DistilBERT has no projection.
    """
    _require_same_shape("hidden states", hidden_S_BLD, hidden_T_BLD)
    cosine_BL = F.cosine_similarity(hidden_S_BLD.float(), hidden_T_BLD.float(), dim=-1)
    return _masked_sum(1 - cosine_BL, mask_BL) / mask_BL.sum()


def attention_probs_loss(
    attention_S: QueryKey, attention_T: QueryKey, mask_BL: Tensor, average_heads: bool = False
) -> Tensor:
    """Match attention after the softmax (MobileBERT, Sun et al. 2020, 2004.02984, 3.4).

    Their KL divergence less the teacher's entropy, which has no gradient.

    Args:
        attention_S: Student's queries and keys.
        attention_T: Teacher's queries and keys.
        mask_BL: True for a real token, False for padding.
        average_heads: Match the means over heads, whose numbers may then differ.

    Returns:
        Cross-entropy over keys, averaged over heads and queries of real tokens; a scalar.

    Raises:
        ValueError: The shapes differ, for instance in the number of heads.
    """
    log_probs_S_BHLL = _attention_log_probs(attention_S, mask_BL)
    log_probs_T_BHLL = _attention_log_probs(attention_T, mask_BL)
    if average_heads:
        log_probs_S_BHLL = _log_mean_over_heads(log_probs_S_BHLL)
        log_probs_T_BHLL = _log_mean_over_heads(log_probs_T_BHLL)
    _require_same_shape("attention probabilities", log_probs_S_BHLL, log_probs_T_BHLL)
    cross_BHL = -(log_probs_T_BHLL.exp() * log_probs_S_BHLL).sum(dim=-1)
    return _masked_sum(cross_BHL.mean(dim=1), mask_BL) / mask_BL.sum()


def relations_loss(
    relations_S: QueryKeyValue, relations_T: QueryKeyValue, mask_BL: Tensor, num_heads: int
) -> Tensor:
    """Match how tokens relate, in queries, keys and values (MiniLMv2, 2012.15828, Eq. 6).

    A relation head r is a part of the joined width, D/A wide: R = softmax(X_r X_r^T / sqrt(D/A))
    over real tokens. Both have the same number A of them, whatever their heads and widths.

    Args:
        relations_S: Student's queries, keys and values, heads joined.
        relations_T: Teacher's.
        mask_BL: True for a real token, False for padding.
        num_heads: A, the relation heads.

    Returns:
        KL(R_T || R_S) over keys, averaged over relation heads and queries of real tokens, summed
        over queries, keys and values; a scalar.

    Raises:
        ValueError: The relation heads do not divide a width, or the shapes differ in tokens.
    """
    terms = []
    for x_S_BLD, x_T_BLD in zip(relations_S, relations_T, strict=True):
        _require_same_shape("relations", x_S_BLD[..., 0], x_T_BLD[..., 0])
        x_S_BHLD, x_T_BHLD = (_cut_in_heads(x, mask_BL, num_heads) for x in (x_S_BLD, x_T_BLD))
        terms.append(_Divergence.apply(x_S_BHLD, x_T_BHLD, mask_BL))  # type: ignore[no-untyped-call]
    return torch.stack(terms).sum() / (num_heads * mask_BL.sum())


def _cut_in_heads(x_BLD: Tensor, mask_BL: Tensor, num_heads: int) -> Tensor:
    """Return relation heads, (B, H, L, D/H), scaled so that x x^T are scores; padding is 0."""
    width = x_BLD.shape[-1]
    if width % num_heads:
        raise ValueError(f"relations: {num_heads} relation heads do not divide a width of {width}")
    real_BLD = torch.where(mask_BL[..., None], x_BLD.float(), 0.0)
    heads_BHLD = torch.stack(real_BLD.chunk(num_heads, dim=-1), dim=1)
    scaled_BHLD: Tensor = heads_BHLD * (num_heads / width) ** 0.25
    return scaled_BHLD


class _Divergence(torch.autograd.Function):
    """Sum of KL(R_T || R_S) over rows, heads and queries, R = softmax(X X^T) over real tokens.

    The gradient by the student's scores is R_S - R_T, so it is made along with the loss, a few rows
    of a map at a time, and nothing as large as a map is kept.
    """

    @staticmethod
    def forward(ctx: Any, x_S_BHLD: Tensor, x_T_BHLD: Tensor, mask_BL: Tensor) -> Tensor:
        num_heads, num_tokens = x_S_BHLD.shape[1:3]
        x_S, x_T = x_S_BHLD.flatten(0, 1), x_T_BHLD.flatten(0, 1)
        mask = mask_BL.repeat_interleave(num_heads, dim=0)
        gradient = torch.zeros_like(x_S)
        total = x_S.new_zeros(())
        maps = max(1, RELATIONS_AT_ONCE // num_tokens**2)
        rows = max(1, RELATIONS_AT_ONCE // num_tokens)
        for first in range(0, len(x_S), maps):
            some = slice(first, first + maps)
            of_S, of_T, real = x_S[some], x_T[some], mask[some]
            for row in range(0, num_tokens, rows):
                part = slice(row, row + rows)
                log_S, log_T = (_relation_log_probs(of[:, part], of, real) for of in (of_S, of_T))
                probs_T = log_T.exp()
                total += (probs_T * (log_T - log_S)).sum()  # 0 of padded queries: both even
                if not ctx.needs_input_grad[0]:
                    continue
                by_scores = log_S.exp() - probs_T
                gradient[some, part] += by_scores @ of_S
                gradient[some] += by_scores.mT @ of_S[:, part]
        ctx.save_for_backward(gradient.view_as(x_S_BHLD))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * by_loss, None, None


def _relation_log_probs(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    scores = queries @ keys.mT
    lowest = torch.finfo(scores.dtype).min  # not -inf, which times probability 0 is NaN
    return F.log_softmax(scores.masked_fill_(~mask[:, None, :], lowest), dim=-1)


def _attention_log_probs(attention: QueryKey, mask_BL: Tensor) -> Tensor:
    scores_BHLL = attention.query.float() @ attention.key.float().mT * attention.scaling
    lowest = torch.finfo(scores_BHLL.dtype).min  # not -inf, which times probability 0 is NaN
    return F.log_softmax(scores_BHLL.masked_fill(~mask_BL[:, None, None, :], lowest), dim=-1)


def _log_mean_over_heads(log_probs_BHLL: Tensor) -> Tensor:
    return log_probs_BHLL.logsumexp(dim=1, keepdim=True) - math.log(log_probs_BHLL.shape[1])


def _joined(student_BHLD: Tensor, teacher_BHLD: Tensor, mask_BL: Tensor) -> Tensor:
    joined = torch.cat([student_BHLD, teacher_BHLD], dim=-1)
    return torch.where(mask_BL[:, None, :, None], joined, 0.0)


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    # where, not a product: a padded place may hold inf or NaN, and 0 * inf is NaN.
    return torch.where(mask, values, 0.0).sum()


def _require_same_shape(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"{what}: student's shape {tuple(student.shape)} differs from "
            f"teacher's {tuple(teacher.shape)}"
        )
