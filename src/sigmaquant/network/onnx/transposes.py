"""Removes the transposes that converters from channels-last frameworks leave behind."""

from __future__ import annotations

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from sigmaquant.network.onnx.building import RANK
from sigmaquant.network.onnx.operators.activations import Clip, HardSigmoid
from sigmaquant.network.onnx.operators.arithmetic import Apply, Reduction, WithNumber, WithTensor
from sigmaquant.network.onnx.operators.shapes import Concat, Permute

_ELEMENTWISE = (
    Clip,
    HardSigmoid,
    WithNumber,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
)


def remove_transposes(network: GraphModule) -> None:
    """Move transposes behind what works value by value until they meet and cancel."""
    moved = True
    while moved:
        moved = sum(_step(network, node) for node in list(network.graph.nodes)) > 0
        network.graph.eliminate_dead_code()


def _step(network: GraphModule, node: Node) -> bool:
    """One change at a node whose inputs are all transposed alike; whether there was one."""
    orders = [_order(network, source) for source in node.all_input_nodes]
    if node.op != "call_module" or not orders or orders[0] is None or len(set(orders)) > 1:
        return False
    module, order = network.get_submodule(str(node.target)), orders[0]
    if isinstance(module, Permute):
        return _join(network, node, module, order)
    if isinstance(module, Reduction):
        return _reduce_before(network, node, module, order)
    if not _can_pass(module, node, order):
        return False
    if isinstance(module, Concat):
        network.set_submodule(str(node.target), Concat(order[module.axis]))
    if isinstance(module, WithTensor):
        turned = _turned(module.constant, order)
        network.set_submodule(
            str(node.target), WithTensor(module.function, turned, first=module.first)
        )
    _move_behind(network, node, order)
    return True


def _order(network: GraphModule, node: Node) -> tuple[int, ...] | None:
    if node.op != "call_module":
        return None
    module = network.get_submodule(str(node.target))
    return module.order if isinstance(module, Permute) else None


def _join(network: GraphModule, node: Node, module: Permute, order: tuple[int, ...]) -> bool:
    """Two transposes in a row are one, or none."""
    joined = tuple(order[dim] for dim in module.order)
    (first,) = node.all_input_nodes
    source = first.args[0]
    assert isinstance(source, Node)
    if joined == tuple(range(len(joined))):
        node.replace_all_uses_with(source)
    else:
        network.set_submodule(str(node.target), Permute(joined))
        node.args = (source,)
    return True


def _reduce_before(
    network: GraphModule, node: Node, module: Reduction, order: tuple[int, ...]
) -> bool:
    """A reduction of a transposed tensor, where what is left is in the same order without."""
    axes = tuple(order[axis] for axis in module.axes)
    left = [dim for dim in order if dim not in axes]
    if module.keep or left != sorted(left):
        return False
    (first,) = node.all_input_nodes
    network.set_submodule(str(node.target), Reduction(module.function, axes, keep=False))
    node.args = first.args
    return True


def _can_pass(module: nn.Module, node: Node, order: tuple[int, ...]) -> bool:
    """Whether the transpose can be done behind the module as well."""
    if isinstance(module, WithTensor):
        return module.constant.dim() <= len(order)
    if isinstance(module, Apply):
        return all(source.meta[RANK] == len(order) for source in node.all_input_nodes)
    return isinstance(module, (*_ELEMENTWISE, Concat))


def _turned(constant: Tensor, order: tuple[int, ...]) -> Tensor:
    """The constant as it broadcasts with what was not transposed."""
    full = constant.detach().reshape((*[1] * (len(order) - constant.dim()), *constant.shape))
    back = sorted(range(len(order)), key=order.__getitem__)
    turned = full.permute(back).contiguous()
    return nn.Parameter(turned) if isinstance(constant, nn.Parameter) else turned


def _added(network: GraphModule, path: str, module: nn.Module) -> str:
    """Put a module at the path, or at one like it if that is taken; returns where."""
    owner = network.get_submodule(path.rpartition(".")[0])
    while hasattr(owner, path.rpartition(".")[2]):
        path += "_"
    network.add_submodule(path, module)
    return path


def _move_behind(network: GraphModule, node: Node, order: tuple[int, ...]) -> None:
    """Let the node read what its inputs' transposes read, and transpose its result."""
    transposes = dict.fromkeys(node.all_input_nodes)
    for transpose in transposes:
        source = transpose.args[0]
        assert isinstance(source, Node)
        node.replace_input_with(transpose, source)
    path = _added(network, f"{node.target}_transposed", Permute(order))
    with network.graph.inserting_after(node):
        behind = network.graph.call_module(path, (node,))
    behind.meta[RANK] = node.meta[RANK]
    node.replace_all_uses_with(behind, delete_user_cb=lambda user: user is not behind)
