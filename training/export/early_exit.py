"""A committee's graph that stops early: where its lightest members are sure, the others are not run.

Much of what a fast network passes on is plain to two networks that are not much larger.
The idea is of Wang et al. 2022, "Wisdom of Committees: An Overlooked Approach To Faster and More Accurate Models".
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

from training.data.mnist import Digits
from training.export.onnx_graph import replace_graph, stems

# How sure the first members must be for their answer to stand: of which digit it is, at a temperature of 1, and whether
# it is one, or is none (benchmarks/early.py). Of held-out digits that the fast network passes on, two in five stop; of
# those that are bent or dirty, 1,900 of 9,400, of which all members read two otherwise. What is surely no digit goes on
# all the same where it is not surely like one of them: much more would stop, but of blurred digits 35 were lost so.
SURE_WHICH = 0.9
SURE_WHETHER = 0.98

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
    enough = Constant <value_float = {math.log(SURE_WHICH)}> ()
    far = Constant <value_float = {math.log(SURE_WHETHER / (1 - SURE_WHETHER))}> ()
    unsure_which = Less (log_confidence, enough)
    unsure_whether = Less (distance, far)
    unsure = Or (unsure_which, unsure_whether)
    open = Squeeze (unsure, across)
    any = ReduceMax <keepdims = 0> (open)
}}
"""
GATHER = """
gather (bool[N] open, float[N, F] first, float[N, 1, 28, 28] pictures) => (float[M, F] open_first) {
    open_places = NonZero (open)
    rows = Transpose <perm = [1, 0]> (open_places)
    open_pictures = GatherND (pictures, rows)
    open_first = GatherND (first, rows)
}
"""


def stop_early(path: Path, first: Sequence[int], members: Sequence[dict[str, Any]], checked_on: Digits) -> None:
    """Rewrite a committee's graph, as ``write_graph`` and ``quantise`` leave it, so that the first members read every
    picture, and the others what these leave open; of that the logits are the mean of all, as before.

    Args:
        first: places of members in the committee.
        members: the arguments of the DigitNets that they are.
        checked_on: digits that it must read as before, but for one in two thousand.

    Raises:
        ExportError: it reads more of them otherwise; the graph is as it was.
    """
    widths = [config["stages"][-1][0] for config in members]
    replace_graph(
        path,
        lambda other: onnx.save(rewrite(onnx.load(path), first, widths), other),
        "stopped early, the graph",
        checked_on,
    )


def rewrite(model: ModelProto, first: Sequence[int], widths: Sequence[int]) -> ModelProto:
    """Give a committee's graph another order: the first members, and if need be the others.

    Args:
        widths: features of each member.
    """
    graph = model.graph
    head = next(node for node in graph.node if node.op_type == "Gemm")
    join = next(node for node in graph.node if head.input[0] in node.output)
    first_convolutions = stems(graph)
    (pictures,) = {node.input[0] for node in graph.node if node.name in first_convolutions}
    others = [member for member in range(len(widths)) if member not in first]
    early, late = (needed(graph, [join.input[member] for member in members]) for members in (first, others))
    late = [node for node in late if node not in early]
    tail = [node for node in graph.node if node not in (*early, *late, head, join)]

    weight = next(each for each in graph.initializer if each.name == head.input[1])
    columns = np.split(numpy_helper.to_array(weight), np.cumsum(widths)[:-1], axis=1)
    # The head's weights are a mean's: a share of each member. Those of the first become a mean of their own.
    first_weight = np.concatenate([columns[member] for member in first], axis=1) * (len(widths) / len(first))
    all_weight = np.concatenate([columns[member] for member in (*first, *others)], axis=1)
    graph.initializer.remove(weight)
    graph.initializer.extend(
        [numpy_helper.from_array(first_weight, "first_weight"), numpy_helper.from_array(all_weight, "all_weight")]
    )
    for node in late:
        renamed(node, {pictures: "open_pictures"})
    every_feature = ["open_first", *(join.input[member] for member in others)]
    asks = make_graph(
        [
            *renamed_all(GATHER, {"pictures": pictures}),
            *late,
            make_node("Concat", every_feature, ["all"], axis=1),
            make_node("Gemm", ["all", "all_weight", head.input[2]], ["open_logits"], transB=1),
            make_node("ScatterND", ["first_logits", "rows", "open_logits"], ["asked_logits"]),
        ],
        "ask the others",
        [],
        [make_tensor_value_info("asked_logits", TensorProto.FLOAT, None)],
    )
    stops = make_graph(
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
            *renamed_all(DECIDE, {"head_bias": head.input[2]}),
            make_node("If", ["any"], [head.output[0]], then_branch=asks, else_branch=stops),
            *tail,
        ]
    )
    onnx.checker.check_model(model)
    return model


def needed(graph: GraphProto, outputs: Sequence[str]) -> list[NodeProto]:
    """What makes these values, in order."""
    wanted, found = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def renamed_all(text: str, names: dict[str, str]) -> list[NodeProto]:
    """The operations of a graph in ONNX's text form, some of its values under other names."""
    return [renamed(node, names) for node in parse_graph(text).node]


def renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    node.input[:] = [names.get(name, name) for name in node.input]
    return node
