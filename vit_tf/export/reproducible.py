"""A SavedModel whose bytes depend on the model alone."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import (
    attr_value_pb2,
    function_pb2,
    node_def_pb2,
    op_def_pb2,
)
from tensorflow.core.protobuf import (
    config_pb2,
    fingerprint_pb2,
    saved_model_pb2,
    saved_object_graph_pb2,
)

USER_NAME = "_user_specified_name"
SESSION = "config_proto"  # of a call, how the session ran in which it was traced


def make_reproducible(directory: Path) -> None:
    """Rewrites a SavedModel so that one saved again is the same, byte for byte.

    Four things differ between two SavedModels of one model. TensorFlow numbers the
    functions of a process, all that were ever traced, and the order of the functions
    follows from their names: here they are numbered from 0, in the same order. What a
    function captures has such a number for a name: here it has none. Each call says how
    many devices there were, and which of a session's options were set, be it to their
    defaults: here it says that a device that is not there need not be. And
    `fingerprint.pb` has a random identifier: here it follows from `saved_model.pb`.

    A fifth stays: where layers drop out, Keras's numbers of their seed generators are
    in variables' names, counted from the last `keras.backend.clear_session()`.
    """
    path = directory / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    session = config_pb2.ConfigProto(allow_soft_placement=True)
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        names = _numbered(function.signature.name for function in functions)
        for function in functions:
            _rename(function.signature, names[function.signature.name])
            _drop_numbers(function)
        for nodes in (graph.graph_def.node, *(f.node_def for f in functions)):
            _rename_calls(nodes, names)
            _set_session(nodes, session.SerializeToString(deterministic=True))
        _rename_objects(graph.object_graph_def, names)
        functions.sort(key=lambda function: function.signature.name)
    written = model.SerializeToString(deterministic=True)
    path.write_bytes(written)
    _sign(directory / "fingerprint.pb", written)


def _numbered(names: Iterable[str]) -> dict[str, str]:
    """Name -> the same with a number that counts these names alone."""

    def number(name: str) -> int:
        return int(re.search(r"\d*$", name)[0] or 0)

    ordered = sorted(names, key=lambda name: (number(name), name))
    return {name: re.sub(r"\d+$", str(i), name) for i, name in enumerate(ordered)}


def _rename(signature: op_def_pb2.OpDef, name: str) -> None:
    """Gives a function another name, which some of its unused arguments have too."""
    for argument in signature.input_arg:
        argument.name = argument.name.replace(f"{signature.name}___", f"{name}___")
    signature.name = name


def _rename_calls(
    nodes: Iterable[node_def_pb2.NodeDef], names: Mapping[str, str]
) -> None:
    for node in nodes:
        for value in node.attr.values():
            for called in _called(value):
                called.name = names[called.name]


def _set_session(nodes: Iterable[node_def_pb2.NodeDef], session: bytes) -> None:
    for node in nodes:
        if SESSION in node.attr:
            node.attr[SESSION].s = session


def _drop_numbers(function: function_pb2.FunctionDef) -> None:
    """Leaves out the name that users have for an argument where it is a number."""
    for argument in function.arg_attr.values():
        if argument.attr[USER_NAME].s.isdigit():
            del argument.attr[USER_NAME]


def _called(value: attr_value_pb2.AttrValue) -> Iterator[attr_value_pb2.NameAttrList]:
    if value.HasField("func"):
        yield value.func
    yield from value.list.func


def _rename_objects(
    objects: saved_object_graph_pb2.SavedObjectGraph, names: Mapping[str, str]
) -> None:
    for node in objects.nodes:
        if node.HasField("function"):
            called = node.function.concrete_functions
            called[:] = [names[name] for name in called]
        if node.HasField("bare_concrete_function"):
            concrete = node.bare_concrete_function
            concrete.concrete_function_name = names[concrete.concrete_function_name]
    for name in [*objects.concrete_functions]:
        renamed = saved_object_graph_pb2.SavedConcreteFunction()
        renamed.CopyFrom(objects.concrete_functions.pop(name))
        objects.concrete_functions[names[name]].CopyFrom(renamed)


def _sign(path: Path, saved_model: bytes) -> None:
    """Fills in the fingerprint what is of the file's bytes, not of what they mean."""
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    checksum = tf.fingerprint([saved_model]).numpy()
    fingerprint.saved_model_checksum = int.from_bytes(checksum.tobytes(), "little")
    identifier = hashlib.sha256(saved_model).digest()[:16]
    fingerprint.uuid = str(int.from_bytes(identifier, "little"))
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))
