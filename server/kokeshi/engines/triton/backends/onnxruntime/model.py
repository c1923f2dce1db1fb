"""Triton's backend "onnxruntime" for a Triton that has its Python backend alone.

Runs inside Triton's Python stub: beside NumPy, ONNX Runtime and Triton's own module it imports the
files of this folder. Model folders are the same as for Triton's own backend of this name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found] # Triton's stub has it
from kokeshi_heartbeat import FOLDER_VARIABLE, Heartbeat  # type: ignore[import-not-found] # lies beside this file
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class TritonPythonModel:
    """One instance of one version of a model; the methods are those that Triton calls."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:  # noqa: ANN401 - untyped
        """Reads from the graph what the configuration leaves out."""
        said = config.as_dict()
        if said["input"] and said["output"]:
            return config  # before ONNX Runtime is imported and the graph opened
        from kokeshi_session import graph_path, open_session  # type: ignore[import-not-found] # as above
        from kokeshi_tensors import complete  # type: ignore[import-not-found] # as above

        path = graph_path(triton.get_model_dir(), said["default_model_filename"])
        return complete(open_session(path, {}, "CPU", 0), config)

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the graph."""
        from kokeshi_session import CPU, graph_path, open_session
        from kokeshi_tensors import check

        config = json.loads(args["model_config"])
        folder = os.path.join(args["model_repository"], args["model_version"])
        path = graph_path(folder, config["default_model_filename"])
        kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
        self._session = open_session(path, config, kind, device)
        check(self._session, config)
        self._batched = config["max_batch_size"] > 0
        self._inputs = [one["name"] for one in config["input"]]
        self._outputs = [one["name"] for one in config["output"]]
        strings = [one["name"] for one in config["input"] if one["data_type"] == "TYPE_STRING"]
        self._strings = frozenset(strings)
        self._heartbeat = _heartbeat(args, self._session.get_providers() == [CPU])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Runs all requests as one batch; where that fails, each alone."""
        if self._heartbeat is None:
            return self._answer(requests)
        self._heartbeat.begin()
        try:
            return self._answer(requests)
        finally:
            self._heartbeat.end()

    def finalize(self) -> None:
        """Says that the end of this process is wanted."""
        if self._heartbeat is not None:
            self._heartbeat.finish()

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        if len(requests) == 1:
            return [self._alone(requests[0])]
        if not self._batched:
            return [self._alone(request) for request in requests]
        try:
            return self._together(requests)
        except Exception:  # whichever request broke the batch is the only one to fail
            return [self._alone(request) for request in requests]

    def _together(self, requests: Sequence[Any]) -> list[Any]:
        parts = [self._arrays(request) for request in requests]
        wanted = set().union(*(request.requested_output_names() for request in requests))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._inputs}
        outputs = self._run(joined, wanted)
        responses, start = [], 0
        for part in parts:
            end = start + len(part[self._inputs[0]])
            rows = [triton.Tensor(name, value[start:end]) for name, value in outputs.items()]
            responses.append(triton.InferenceResponse(rows))
            start = end
        return responses

    def _alone(self, request: Any) -> Any:  # noqa: ANN401 - untyped
        try:
            outputs = self._run(self._arrays(request), request.requested_output_names())
            tensors = [triton.Tensor(name, value) for name, value in outputs.items()]
            return triton.InferenceResponse(tensors)
        except Exception as error:
            return triton.InferenceResponse(error=triton.TritonError(f"onnx runtime: {error}"))

    def _arrays(self, request: Any) -> Arrays:  # noqa: ANN401 - untyped
        arrays = {one.name(): one.as_numpy() for one in request.inputs()}
        for name in self._strings & arrays.keys():
            arrays[name] = _decoded(arrays[name])
        return arrays

    def _run(self, inputs: Arrays, wanted: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - names, as Triton gives them
        names = [name for name in self._outputs if name in wanted] or self._outputs
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def _heartbeat(args: Mapping[str, str], cpu_only: bool) -> Any:  # noqa: ANN401 - untyped
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return None
    serves = {
        "model": args["model_name"],
        "version": int(args["model_version"]),
        "instance": args["model_instance_name"],
        "cpu_only": cpu_only,
    }
    return Heartbeat(folder, serves)


def _decoded(array: NDArray[Any]) -> NDArray[Any]:
    """Bytes as the text that ONNX Runtime takes: (n, ...) objects."""
    texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    return np.array(texts, dtype=object).reshape(array.shape)
