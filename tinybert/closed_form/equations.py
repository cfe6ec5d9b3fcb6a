"""The closed forms that reduce a teacher's layer to a student's: bases, heads, neurons.

Letters: D and d are the widths of teacher and student, H a model's heads, C = mean(x^T x) of
whatever is reduced. All matrices are float64.
"""

import torch
from torch import Tensor


def random_rotation(width: int, generator: torch.Generator) -> Tensor:
    """Return a random orthogonal matrix of shape (width, width).

    Q of a Gaussian matrix, with the signs of R's diagonal taken in, is uniform over rotations and
    reflections (Mezzadri 2007, math-ph/0609050).
    """
    gaussian = torch.randn(width, width, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(gaussian)
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def principal_basis(covariance: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Return B of shape (D, d): the leading eigenvectors times a random rotation.

    Of all projections to d columns the leading eigenvectors keep most variance. The rotation
    spreads it evenly, so that a LayerNorm over the d coordinates does what the teacher's does over
    its D: otherwise one leading coordinate would set every token's scale.

    Args:
        covariance: Of the teacher's states, shape (D, D).
        width: d.
        generator: Of the rotation.
    """
    _, vectors = torch.linalg.eigh(covariance)
    rotation = random_rotation(width, generator).to(covariance)
    basis: Tensor = vectors[:, -width:] @ rotation
    return basis


def matrix_power(symmetric: Tensor, exponent: float) -> Tensor:
    """Return a positive semidefinite matrix to a power; directions of no variance stay out."""
    values, vectors = torch.linalg.eigh(symmetric)
    floor = 1e-10 * values[..., -1:].clamp(min=1e-300)
    powered = torch.where(values > floor, values.clamp(min=floor) ** exponent, 0.0)
    power: Tensor = (vectors * powered[..., None, :]) @ vectors.mT
    return power


def score_directions(C_q: Tensor, C_k: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return A, A' so that (q A)(k A')^T is the best approximation of q k^T of that rank.

    Over independent q and k the mean of (q k^T - q M k^T)^2 is |C_q^(1/2) (1 - M) C_k^(1/2)|^2, so
    by Eckart and Young C_q^(1/2) M C_k^(1/2) is the truncated SVD P S R^T of C_q^(1/2) C_k^(1/2).
    S is shared out evenly: A = C_q^(-1/2) P S^(1/2), A' = C_k^(-1/2) R S^(1/2).

    Args:
        C_q: Second moments of a head's queries, shape (..., D/H, D/H).
        C_k: Of its keys.
        width: d/H, at most D/H.

    Returns:
        A and A', shape (..., D/H, d/H).
    """
    P, S, Rt = torch.linalg.svd(matrix_power(C_q, 0.5) @ matrix_power(C_k, 0.5))
    root = S[..., None, :width].sqrt()
    A = matrix_power(C_q, -0.5) @ P[..., :width] * root
    A_k = matrix_power(C_k, -0.5) @ Rt.mT[..., :width] * root
    return A, A_k


def value_directions(C_v: Tensor, W_o: Tensor, width: int) -> Tensor:
    """Return A so that v A keeps most of what a head's values bring to the layer's output.

    The output is v W_o, and the mean of |v W_o - v A E|^2 is least where C_v^(1/2) A E is the
    truncated SVD P S R^T of C_v^(1/2) W_o; A = C_v^(-1/2) P S.

    Args:
        C_v: Second moments of a head's values, shape (..., D/H, D/H).
        W_o: The head's rows of the output map, shape (..., D/H, D).
        width: d/H, at most D/H.

    Returns:
        A, shape (..., D/H, d/H).
    """
    P, S, _ = torch.linalg.svd(matrix_power(C_v, 0.5) @ W_o, full_matrices=False)
    A: Tensor = matrix_power(C_v, -0.5) @ P[..., :width] * S[..., None, :width]
    return A


def strongest_neurons(variance: Tensor, W_2: Tensor, number: int) -> Tensor:
    """Return the numbers of the neurons that move the feed-forward's output most, in order.

    Neuron i adds act(p_i) w_i to the output, whose variance is var(act(p_i)) |w_i|^2.

    Args:
        variance: Of act(p), shape (neurons,).
        W_2: The second map's weight, shape (D, neurons).
        number: How many to keep.
    """
    strength = variance * W_2.double().square().sum(0)
    return strength.topk(number).indices.sort().values


def head_strength(C_v: Tensor, W_o: Tensor) -> Tensor:
    """Return what each head's values bring to the layer's output: mean |v W_o|^2, shape (heads,).

    Args:
        C_v: Second moments of the values, shape (heads, D/H, D/H).
        W_o: Rows of the output map, shape (heads, D/H, D).
    """
    return torch.einsum("had,hab,hbd->h", W_o, C_v, W_o)
