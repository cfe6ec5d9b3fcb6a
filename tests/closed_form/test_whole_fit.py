"""The whole fit against one of its own in NumPy and float64, without the library's equations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import erf

from tests.closed_form.test_closed_form import sharp, small_student, some_rows
from tests.fixtures.models import tiny_classifier
from tinybert.closed_form.fit import EncoderFit
from tinybert.closed_form.start import fit_student

RIDGE = 1e-3
EPS = 1e-12
ATTENTION, NORM = "attention.self.", "LayerNorm"


class Network:
    """A BERT's weights as NumPy arrays in float64."""

    def __init__(self, model):
        weights = {name: of.double().numpy() for name, of in model.bert.state_dict().items()}
        self.weights = weights
        self.num_heads = model.config.num_attention_heads
        names = ("word", "position", "token_type")
        self.tables = [weights[f"embeddings.{name}_embeddings.weight"] for name in names]

    def of(self, name):
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def linear(self, name, x):
        weight, bias = self.of(name)
        return x @ weight.T + bias

    def norm(self, name, x):
        gain, bias = self.of(name)
        return normalised(x) * gain + bias


def normalised(x):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + EPS)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def attend(query, key, value, num_heads, starts):
    """Return each text's attention, its tokens one after the other from `starts` on."""
    context = np.empty_like(value)
    for text in np.split(np.arange(len(value)), starts[1:]):
        for head in np.array_split(np.arange(value.shape[1]), num_heads):
            at = np.ix_(text, head)
            scores = np.exp(query[at] @ key[at].T / np.sqrt(len(head)))
            context[at] = scores / scores.sum(1, keepdims=True) @ value[at]
    return context


def run(teacher, ids, places, types, starts):
    """Return the teacher's states and, by layer, what its maps put out, for all tokens."""
    words, positions, kinds = teacher.tables
    states = teacher.norm(f"embeddings.{NORM}", words[ids] + positions[places] + kinds[types])
    layers = [SimpleNamespace(state=states)]
    for number in range(2):
        name = f"encoder.layer.{number}."
        made = SimpleNamespace()
        for part in ("query", "key", "value"):
            setattr(made, part, teacher.linear(name + ATTENTION + part, states))
        context = attend(made.query, made.key, made.value, teacher.num_heads, starts)
        output = teacher.linear(name + "attention.output.dense", context)
        made.attended = teacher.norm(f"{name}attention.output.{NORM}", states + output)
        made.neurons = teacher.linear(name + "intermediate.dense", made.attended)
        output = teacher.linear(name + "output.dense", gelu(made.neurons))
        made.state = states = teacher.norm(f"{name}output.{NORM}", made.attended + output)
        layers.append(made)
    return layers


def power(symmetric, exponent):
    values, vectors = np.linalg.eigh(symmetric)
    return vectors * values**exponent @ vectors.T


def ridge(x, target):
    """Solve it as plain least squares with further rows."""
    centred = x - x.mean(0)
    further = np.eye(x.shape[1]) * np.sqrt(RIDGE * np.square(centred).sum(0).mean())
    rows = np.vstack([target - target.mean(0), np.zeros((len(further), target.shape[1]))])
    weight = np.linalg.lstsq(np.vstack([centred, further]), rows, rcond=None)[0]
    return centred @ weight + target.mean(0)


def by_coordinate(x, target):
    """Regress each coordinate on its normalised self."""
    fits = [np.polyfit(a, b, 1) for a, b in zip(normalised(x).T, target.T, strict=True)]
    gain, bias = np.transpose(fits)
    return normalised(x) * gain + bias


def left(target, found):
    return np.square(target - found).sum() / np.square(target - target.mean(0)).sum()


def reduced_heads(made, W_o, num_heads, width):
    """Return queries, keys and values in the directions of each head that matter most."""
    of, scale = {"query": [], "key": [], "value": []}, (width * num_heads / len(W_o)) ** 0.25
    for head in np.split(np.arange(len(W_o)), num_heads):
        query, key, value = (x[:, head] for x in (made.query, made.key, made.value))
        C_q, C_k, C_v = (x.T @ x / len(x) for x in (query, key, value))
        P, S, Rt = np.linalg.svd(power(C_q, 0.5) @ power(C_k, 0.5))
        root = np.sqrt(S[:width]) * scale
        of["query"].append(query @ power(C_q, -0.5) @ P[:, :width] * root)
        of["key"].append(key @ power(C_k, -0.5) @ Rt.T[:, :width] * root)
        P, S, _ = np.linalg.svd(power(C_v, 0.5) @ W_o[head])
        of["value"].append(value @ power(C_v, -0.5) @ P[:, :width] * S[:width])
    return {name: np.concatenate(each, axis=1) for name, each in of.items()}


def test_every_map_leaves_what_an_implementation_of_its_own_leaves():
    teacher = sharp(tiny_classifier())
    rows = some_rows(80)
    student = small_student()
    fit = fit_student(student, teacher, rows, [2], seed=0)
    basis = EncoderFit(small_student(), teacher, rows, [2], 0).basis.double().numpy()

    network, starts = Network(teacher), np.concatenate([[0], rows.ends[:-1]])
    places = np.arange(len(rows.ids)) - np.repeat(starts, rows.lengths)
    types = (places >= np.repeat(rows.first_lengths, rows.lengths)).astype(int)
    embedded, _, made = run(network, rows.ids, places, types, starts)
    W_o, W_2 = (
        network.of(f"encoder.layer.1.{name}.dense")[0].T for name in ("attention.output", "output")
    )
    width, heads = basis.shape[1], student.config.num_attention_heads

    gain = network.of(f"embeddings.{NORM}")[0]
    tables = [(t - t.mean(1, keepdims=True)) * gain @ basis for t in network.tables]
    summed = tables[0][rows.ids] + tables[1][places] + tables[2][types]
    state = by_coordinate(summed, embedded.state @ basis)
    found = {"embeddings": left(embedded.state @ basis, state)}

    targets = reduced_heads(made, W_o, network.num_heads, width // heads)
    maps = {name: ridge(state, target) for name, target in targets.items()}
    found |= {name: left(target, maps[name]) for name, target in targets.items()}
    context = attend(*maps.values(), heads, starts)
    wanted = made.attended @ basis
    output = ridge(context, wanted - state)
    found["attention output"] = left(wanted - state, output)
    attended = by_coordinate(state + output, wanted)
    found["after attention"] = left(wanted, attended)

    strength = gelu(made.neurons).var(0) * np.square(W_2).sum(1)
    target = made.neurons[:, np.sort(np.argsort(strength)[-student.config.intermediate_size :])]
    neurons = ridge(attended, target)
    found["feed-forward in"] = left(target, neurons)
    wanted = made.state @ basis
    output = ridge(gelu(neurons), wanted - attended)
    found["feed-forward out"] = left(wanted - attended, output)
    last = by_coordinate(attended + output, wanted)
    found["output"] = left(wanted, last)

    theirs = {each.map: each.unexplained for each in fit.maps if each.layer < 2}
    assert theirs == pytest.approx(found, abs=1e-4)
    assert set(theirs) == set(found)
    first = slice(rows.lengths[0])
    batch = {"input_ids": rows.ids[first], "token_type_ids": types[first]}
    with torch.no_grad():
        given = {name: torch.tensor(of).long()[None] for name, of in batch.items()}
        states = student(**given, output_hidden_states=True).hidden_states[-1][0]
    np.testing.assert_allclose(states, last[first], atol=1e-3)
