"""Lets a committee stop early: if its lightest members are sure, the graph does not run the others.

Two networks that are hardly larger than the fast network already read much of what it passes on.
The idea is from Wang et al. 2022, "Wisdom of Committees: An Overlooked Approach To Faster and More Accurate Models".
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import make_graph, make_node, make_tensor_value_info
from onnx.parser import parse_graph

from app.inference.networks import build_network
from training.data.mnist import Digits
from training.export.network_size import count_macs
from training.export.onnx_graph import find_first_convolutions, replace_graph

# How sure the first members must be for their answer to count: of the digit (its probability at temperature 1), and
# that the picture shows a digit or shows none. Measured by benchmarks/early_exit.py: of the held-out digits that the
# fast network passes on, two in five stop here. Of 9,400 distorted or soiled ones, 1,900 stop, and all members together
# read two of these differently. A picture that surely shows no digit only stops if it also surely resembles one digit.
# Without this condition many more pictures would stop, but 35 blurred digits were lost.
SURE_OF_DIGIT = 0.9
SURE_OF_TYPICALITY = 0.98

DECIDE = f"""
decide (float[N, F] first) => (float[N, 11] first_logits, bool[N] open, bool any) {{
    first_logits = Gemm <transB = 1> (first, first_weight, head_bias)
    parts = Constant <value_ints = [10, 1]> ()
    digits, anything_else = Split <axis = 1> (first_logits, parts)
    across = Constant <value_ints = [1]> ()
    best = ReduceMax (digits, across)
    energy = ReduceLogSumExp (digits, across)
    log_confidence = Sub (best, energy)
    margin = Sub (energy, anything_else)
    distance = Abs (margin)
    enough = Constant <value_float = {math.log(SURE_OF_DIGIT)}> ()
    far = Constant <value_float = {math.log(SURE_OF_TYPICALITY / (1 - SURE_OF_TYPICALITY))}> ()
    unsure_which = Less (log_confidence, enough)
    unsure_whether = Less (distance, far)
    unsure = Or (unsure_which, unsure_whether)
    open = Squeeze (unsure, across)
    any = ReduceMax <keepdims = 0> (open)
}}
"""
GATHER = """
gather (bool[N] open, float[N, F] first, float[N, 1, H, W] pictures) => (float[M, F] open_first) {
    open_places = NonZero (open)
    rows = Transpose <perm = [1, 0]> (open_places)
    open_pictures = GatherND (pictures, rows)
    open_first = GatherND (first, rows)
}
"""


def find_lightest_members(members: Sequence[dict[str, Any]]) -> list[int]:
    """Return the two members of a committee with the fewest multiply-adds, lightest first.

    A committee of two has none: it runs both members anyway.

    Args:
        members: The arguments of each member's DigitNet.
    """
    macs = [count_macs(build_network("DigitNet", config)) for config in members]
    return sorted(range(len(members)), key=macs.__getitem__)[:2] if len(members) > 2 else []


def add_early_exit(path: Path, first: Sequence[int], members: Sequence[dict[str, Any]], checked_on: Digits) -> None:
    """Rewrite a committee's graph, from ``write_graph`` and ``quantize``, so that it can stop early.

    The first members read every picture. The other members read those that the first members are unsure of. For
    these, the logits are the mean over all members, as before.

    Args:
        first: Indices of the first members.
        members: The arguments of each member's DigitNet.
        checked_on: Digits that both versions must read alike, except for one in two thousand.

    Raises:
        ExportError: They read fewer digits alike. The graph is unchanged.
    """
    widths = [config["stages"][-1][0] for config in members]
    replace_graph(
        path,
        lambda other: onnx.save(rewrite_graph(onnx.load(path), first, widths), other),
        "early-exit",
        checked_on,
    )


def rewrite_graph(model: ModelProto, first: Sequence[int], widths: Sequence[int]) -> ModelProto:
    """Rewrite a committee's graph in place: first the first members, then the others if needed.

    Args:
        first: Indices of the first members.
        widths: Number of features of each member.
    """
    graph = model.graph
    head = next(node for node in graph.node if node.op_type == "Gemm")
    join = next(node for node in graph.node if head.input[0] in node.output)
    first_convolutions = find_first_convolutions(graph)
    (pictures,) = {node.input[0] for node in graph.node if node.name in first_convolutions}
    others = [member for member in range(len(widths)) if member not in first]
    early, late = (find_nodes(graph, [join.input[member] for member in members]) for members in (first, others))
    late = [node for node in late if node not in early]
    tail = [node for node in graph.node if node not in (*early, *late, head, join)]

    weight = next(each for each in graph.initializer if each.name == head.input[1])
    columns = np.split(numpy_helper.to_array(weight), np.cumsum(widths)[:-1], axis=1)
    # The head averages over all members, so each member's weights are scaled by 1 / len(widths). The head of the first
    # members averages over them alone.
    first_weight = np.concatenate([columns[member] for member in first], axis=1) * (len(widths) / len(first))
    all_weight = np.concatenate([columns[member] for member in (*first, *others)], axis=1)
    graph.initializer.remove(weight)
    graph.initializer.extend(
        [numpy_helper.from_array(first_weight, "first_weight"), numpy_helper.from_array(all_weight, "all_weight")]
    )
    for node in late:
        rename_inputs(node, {pictures: "open_pictures"})
    every_feature = ["open_first", *(join.input[member] for member in others)]
    run_others = make_graph(
        [
            *parse_nodes(GATHER, {"pictures": pictures}),
            *late,
            make_node("Concat", every_feature, ["all"], axis=1),
            make_node("Gemm", ["all", "all_weight", head.input[2]], ["open_logits"], transB=1),
            make_node("ScatterND", ["first_logits", "rows", "open_logits"], ["asked_logits"]),
        ],
        "ask the others",
        [],
        [make_tensor_value_info("asked_logits", TensorProto.FLOAT, None)],
    )
    stop = make_graph(
        [make_node("Identity", ["first_logits"], ["kept_logits"])],
        "stop",
        [],
        [make_tensor_value_info("kept_logits", TensorProto.FLOAT, None)],
    )
    del graph.node[:], graph.value_info[:]
    graph.node.extend(
        [
            *early,
            make_node("Concat", [join.input[member] for member in first], ["first"], axis=1),
            *parse_nodes(DECIDE, {"head_bias": head.input[2]}),
            make_node("If", ["any"], [head.output[0]], then_branch=run_others, else_branch=stop),
            *tail,
        ]
    )
    onnx.checker.check_model(model)
    return model


def find_nodes(graph: GraphProto, outputs: Sequence[str]) -> list[NodeProto]:
    """Return the nodes that compute these values, in order."""
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def parse_nodes(text: str, names: dict[str, str]) -> list[NodeProto]:
    """Parse the nodes of a graph in ONNX's text format, with some input values renamed."""
    return [rename_inputs(node, names) for node in parse_graph(text).node]


def rename_inputs(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """Rename inputs of a node in place."""
    node.input[:] = [names.get(name, name) for name in node.input]
    return node
