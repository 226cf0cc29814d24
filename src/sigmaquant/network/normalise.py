"""Rewrites that leave the network's function as it is and make its graph simpler to read.

Each function is one rewrite; ``normalise`` lists them in order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from sigmaquant.network.recurrent import put_batch_first
from sigmaquant.network.transposed import SpreadDimension, plain_weight, zero_taps

aten = torch.ops.aten

_WEIGHTED = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
_TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input)
_BATCH_NORM = aten._native_batch_norm_legit_no_training.default
_IDENTITIES = {
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.detach.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
}


def normalise(module: GraphModule) -> GraphModule:
    """Apply every rewrite; the module is edited and returned."""
    rewrites: tuple[Callable[[GraphModule], None], ...] = (
        drop_guards,
        drop_identities,
        relax_views,
        fold_constants,
        put_batch_first,
        spell_out_padding,
        spread_transposed_convolutions,
        fold_batch_norms,
        simplify_batch_norms,
        add_missing_biases,
        split_to_slices,
        write_out_attention,
    )
    for rewrite in rewrites:
        rewrite(module)
        module.graph.eliminate_dead_code()
    drop_unread_tensors(module)
    module.graph.lint()
    module.recompile()
    return module


def drop_guards(module: GraphModule) -> None:
    """Remove the input checks that torch.export adds; ``read_batches`` checks with better words."""
    for node in list(module.graph.nodes):
        if node.op == "call_module":
            module.graph.erase_node(node)


def drop_identities(module: GraphModule) -> None:
    """Remove what does nothing in evaluation: dropout, copies, slices that keep everything."""
    for node in _calls(module):
        if node.target in _IDENTITIES or _is_full_slice(node):
            node.replace_all_uses_with(arguments_of(node)[0])


def _is_full_slice(node: Node) -> bool:
    if node.target is not aten.slice.Tensor:
        return False
    _, _, start, stop, step = arguments_of(node)
    return start in (0, None) and stop in (None, 2**63 - 1) and step == 1


def relax_views(module: GraphModule) -> None:
    """Turn views into reshapes: the copy that made a view possible may just have been dropped."""
    for node in _calls(module):
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default


def fold_constants(module: GraphModule) -> None:
    """Compute once what depends on parameters alone, such as a normalised weight."""
    for node in _calls(module):
        if _is_constant(node):
            arguments, keywords = map_arg(
                (node.args, node.kwargs), lambda source: tensor_of(module, source)
            )
            assert callable(node.target)
            value = node.target(*arguments, **keywords)
            name = _free_name(module, _constant_name(module, node))
            set_parameter(module, name, value.detach())
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            constant.meta = dict(node.meta)
            node.replace_all_uses_with(constant)


def _is_constant(node: Node) -> bool:
    is_random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    is_tensor = isinstance(node.meta.get("val"), Tensor)
    return is_tensor and not is_random and all(n.op == "get_attr" for n in node.all_input_nodes)


def _constant_name(module: GraphModule, node: Node) -> str:
    """Under the module that reads it, so that a layer is still called by its path."""
    reader = next(iter(node.users))
    path = (("", ""), *reader.meta.get("nn_module_stack", {}).values())[-1][0]
    owner = f"{path}." if path in dict(module.named_modules()) and path else ""
    is_weight = reader.target in (*_WEIGHTED, *_TRANSPOSED) and arguments_of(reader)[1] is node
    if is_weight and owner:
        return f"{owner}weight"
    # Marked, because a module of the operator's own name may be there.
    return f"{owner}folded_{str(node.target).split('.')[1]}"


def _free_name(module: GraphModule, name: str) -> str:
    """The name, or one like it, that no node reads."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr" and node.users}
    while name in read:
        name += "_"
    return name


def spell_out_padding(module: GraphModule) -> None:
    """Turn ``padding="same"`` into numbers; an uneven one becomes a pad of its own."""
    for node in _calls(module):
        if node.target in (aten.conv1d.padding, aten.conv2d.padding):
            _spell_out(module, node)


def _spell_out(module: GraphModule, node: Node) -> None:
    x, weight, bias, stride, mode, dilation, groups = arguments_of(node)
    kernel = tuple(tensor_of(module, weight).shape[2:])
    dilations = spatial(dilation, len(kernel))
    spread = [d * (k - 1) if mode == "same" else 0 for d, k in zip(dilations, kernel, strict=True)]
    if any(total % 2 for total in spread):
        # PyTorch puts the odd element at the end; pads are listed from the last dimension on.
        pads = [side for total in reversed(spread) for side in (total // 2, total - total // 2)]
        with module.graph.inserting_before(node):
            padded = module.graph.call_function(aten.pad.default, (x, pads))
        padded.meta = dict(node.meta)
        x, spread = padded, [0] * len(kernel)
    node.target = aten.conv1d.default if len(kernel) == 1 else aten.conv2d.default
    node.args = (x, weight, bias, stride, [total // 2 for total in spread], dilation, groups)


def spatial(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """A per-dimension argument such as a stride, one number for each spatial dimension.

    >>> spatial(2, 2), spatial([1], 2), spatial([3, 1], 2)
    ((2, 2), (1, 1), (3, 1))
    """
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def spread_transposed_convolutions(module: GraphModule) -> None:
    """Write a transposed convolution as a plain one over its input with zeros between the values.

    All calls that read one weight are rewritten together, or none of them.
    """
    readers: dict[str, list[Node]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            readers.setdefault(str(node.target), []).extend(node.users)
    for name, calls in readers.items():
        if calls and all(_can_spread(node, name) for node in calls):
            groups = {arguments_of(node)[6] for node in calls}
            if len(groups) == 1:
                plain = plain_weight(tensor_of(module, name), groups.pop())
                for node in calls:
                    _spread(module, node, plain)
                set_parameter(module, name, plain)


def _can_spread(node: Node, weight_name: str) -> bool:
    if node.target not in _TRANSPOSED:
        return False
    x, weight, bias, *_ = arguments_of(node)
    constant = weight.op == "get_attr" and (bias is None or bias.op == "get_attr")
    shape = x.meta["val"].shape
    has_batch = len(shape) == len(weight.meta["val"].shape)
    fixed = all(isinstance(size, int) for size in shape[1:])
    return constant and weight.target == weight_name and has_batch and fixed


def _spread(module: GraphModule, node: Node, plain: Tensor) -> None:
    x, weight, bias, stride, padding, extra, groups, dilation = arguments_of(node)
    rank = plain.dim() - 2
    numbers = (spatial(value, rank) for value in (stride, padding, extra, dilation))
    sizes = x.meta["val"].shape[2:]
    dimensions = [
        SpreadDimension(*each) for each in zip(sizes, plain.shape[2:], *numbers, strict=True)
    ]
    spread, padding = _with_edges(node, _with_zeros_between(node, x, dimensions), dimensions)
    weight.meta["val"] = plain.to("meta")
    node.meta["zero_taps"] = zero_taps(dimensions)
    node.target = aten.conv1d.default if rank == 1 else aten.conv2d.default
    node.args = (spread, weight, bias, [1] * rank, padding, dilation, groups)
    node.kwargs = {}


def _with_zeros_between(node: Node, x: Node, dimensions: Sequence[SpreadDimension]) -> Node:
    """Put stride - 1 zeros behind each value: as padding of rows, so that dimensions stay few."""
    channels, *sizes = x.meta["val"].shape[1:]
    shape = [-1, channels, *sizes]
    for axis, dimension in reversed(list(enumerate(dimensions))):
        if dimension.stride == 1:
            continue
        row = math.prod(sizes[axis + 1 :])
        rows = [-1, channels, math.prod(sizes[: axis + 1]), row]
        if rows != shape:
            x = _call_before(node, aten.reshape.default, x, rows)
        x = _call_before(node, aten.constant_pad_nd.default, x, [0, (dimension.stride - 1) * row])
        sizes[axis] *= dimension.stride
        shape = [-1, channels, *sizes]
        x = _call_before(node, aten.reshape.default, x, shape)
    return x


def _with_edges(
    node: Node, x: Node, dimensions: Sequence[SpreadDimension]
) -> tuple[Node, list[int]]:
    """Padded and cropped as the plain convolution reads it, and the padding left for that."""
    sides = [dimension.sides for dimension in dimensions]
    if all(before == after >= 0 for before, after in sides):
        return x, [before for before, _ in sides]
    pads = [max(0, side) for pair in reversed(sides) for side in pair]
    if any(pads):
        x = _call_before(node, aten.constant_pad_nd.default, x, pads)
    for axis, (before, after) in enumerate(sides):
        if min(before, after) < 0:
            cut = (2 + axis, max(0, -before), min(0, after) or None)
            x = _call_before(node, aten.slice.Tensor, x, *cut)
    return x, [0] * len(sides)


def _call_before(node: Node, target: Any, *arguments: Any) -> Node:
    """A new call at the node's place in the user's modules."""
    with node.graph.inserting_before(node):
        added = node.graph.call_function(target, arguments)
    added.meta = {key: value for key, value in node.meta.items() if key != "val"}
    return added


def fold_batch_norms(module: GraphModule) -> None:
    """Fold a batch norm into the convolution or linear layer that alone feeds it.

    W' = W g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta (Jacob et al. 2018, eq. 14).
    """
    for node in _calls(module):
        if node.target is _BATCH_NORM:
            layer = arguments_of(node)[0]
            if isinstance(layer, Node) and _can_fold(layer):
                _fold(module, layer, node)


def simplify_batch_norms(module: GraphModule) -> None:
    """Give the batch norms that are left one result in place of three."""
    for node in _calls(module):
        if node.target is _BATCH_NORM:
            *tensors, momentum, epsilon = arguments_of(node)
            with module.graph.inserting_before(node):
                arguments = (*tensors, False, momentum, epsilon, False)
                simple = module.graph.call_function(aten.batch_norm.default, arguments)
            simple.meta = dict(node.meta)
            for output in list(node.users):
                output.replace_all_uses_with(simple)


def _can_fold(layer: Node) -> bool:
    if layer.target not in _WEIGHTED:
        return False
    weight = arguments_of(layer)[1]
    only_use = len(layer.users) == 1 and isinstance(weight, Node) and len(weight.users) == 1
    if not only_use or weight.op != "get_attr":
        return False
    # Over (N, T, F) a batch norm works on dimension 1, a linear layer on the last.
    is_linear = layer.target is aten.linear.default
    return not (is_linear and layer.meta["val"].dim() != 2)


def _fold(module: GraphModule, layer: Node, norm: Node) -> None:
    _, gamma, beta, mean, variance, _, epsilon = arguments_of(norm)
    _, weight, bias, *_ = arguments_of(layer)
    # In float64, so that the folded network differs from the original by one rounding only.
    factor = (tensor_of(module, variance).double() + epsilon).rsqrt()
    if gamma is not None:
        factor = factor * tensor_of(module, gamma).double()
    offset = -tensor_of(module, mean).double()
    if bias is not None:
        offset = offset + tensor_of(module, bias).double()
    shift = offset * factor
    if beta is not None:
        shift = shift + tensor_of(module, beta).double()
    old = tensor_of(module, weight).double()
    set_parameter(module, weight.target, (old * factor.reshape(-1, *[1] * (old.dim() - 1))).float())
    _set_bias(module, layer, shift.float())
    for output in list(norm.users):
        output.replace_all_uses_with(layer)


def add_missing_biases(module: GraphModule) -> None:
    """Give every layer a bias: quantization corrects its mean error there."""
    for node in _calls(module):
        if node.target in _WEIGHTED:
            _, weight, bias, *_ = arguments_of(node)
            if bias is None and weight.op == "get_attr":
                _set_bias(module, node, torch.zeros(tensor_of(module, weight).shape[0]))


def _set_bias(module: GraphModule, layer: Node, value: Tensor) -> None:
    """Give a layer a bias that it alone reads, named after its weight."""
    x, weight, _, *rest = arguments_of(layer)
    layer.args = (x, weight, None, *rest)
    target = str(weight.target)
    name = f"{target.removesuffix('weight')}bias" if target.endswith("weight") else f"{target}_bias"
    name = _free_name(module, name)
    set_parameter(module, name, value)
    with module.graph.inserting_before(layer):
        layer.args = (x, weight, module.graph.get_attr(name), *rest)


def split_to_slices(module: GraphModule) -> None:
    """Write every piece of a split (or chunk) as a slice of its own."""
    splits = (aten.split.Tensor, aten.split_with_sizes.default)
    for node in _calls(module):
        source = node.args[0] if node.args else None
        if node.target is operator.getitem and getattr(source, "target", None) in splits:
            assert isinstance(source, Node)
            _slice_piece(module, node, source)


def _slice_piece(module: GraphModule, piece: Node, split: Node) -> None:
    x, _, dim = arguments_of(split)
    sizes = [part.shape[dim] for part in split.meta["val"]]
    index = piece.args[1]
    assert isinstance(index, int)
    if not all(isinstance(size, int) for size in sizes):
        return
    start = sum(sizes[:index])
    with module.graph.inserting_before(piece):
        arguments = (x, dim, start, start + sizes[index])
        replacement = module.graph.call_function(aten.slice.Tensor, arguments)
    replacement.meta = dict(piece.meta)
    piece.replace_all_uses_with(replacement)


def write_out_attention(module: GraphModule) -> None:
    """Write attention as ``softmax(q k^T scale) v``, Vaswani et al. 2017, eq. 1.

    So its two products can run in integers. With a mask it stays one operator.
    """
    for node in _calls(module):
        if node.target is aten.scaled_dot_product_attention.default:
            query, key, value, *options, scale, grouped = arguments_of(node)
            features = query.meta["val"].shape[-1]
            if options == [None, 0.0, False] and not grouped and isinstance(features, int):
                scale = 1 / math.sqrt(features) if scale is None else scale
                keys = _call_before(node, aten.transpose.int, key, -2, -1)
                scores = _call_before(node, aten.matmul.default, query, keys)
                scaled = _call_before(node, aten.mul.Tensor, scores, scale)
                weights = _call_before(node, aten.softmax.int, scaled, -1)
                node.target, node.args, node.kwargs = aten.matmul.default, (weights, value), {}


def drop_unread_tensors(module: GraphModule) -> None:
    """Remove parameters and buffers that no node reads, such as those of folded batch norms."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for owner_name, owner in module.named_modules():
        for leaf in (*owner._parameters, *owner._buffers):
            if (f"{owner_name}.{leaf}" if owner_name else leaf) not in read:
                delattr(owner, leaf)


def arguments_of(node: Node) -> list[Any]:
    """All arguments in the order of the operator's schema, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | node.kwargs
    return [given.get(argument.name, argument.default_value) for argument in schema]


def tensor_of(module: nn.Module, node: Node | str) -> Tensor:
    """The parameter or buffer behind a get_attr node, or of that dotted name."""
    value: Any = module
    for part in str(node.target if isinstance(node, Node) else node).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def set_parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Set a tensor by its dotted name, replacing what was there; floats become trainable."""
    owner_name, _, leaf = str(name).rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in owner._buffers:
        del owner._buffers[leaf]
    setattr(owner, leaf, None)
    delattr(owner, leaf)
    if value.is_floating_point():
        owner.register_parameter(leaf, nn.Parameter(value.contiguous()))
    else:
        owner.register_buffer(leaf, value.contiguous())


def _calls(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.op == "call_function"]
