"""Triton with Python pre-processing: a model of the Python backend that turns JPEGs into pixels.

`PACKAGES` of the configuration holds Pillow, which the stub's own environment has not.
"""

import json
import sys

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        sys.path.append(parameters["PACKAGES"]["string_value"])
        sys.path.append(parameters["APPS"]["string_value"])
        import common

        self.prepared = common.prepared

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        jpegs = pb_utils.get_input_tensor_by_name(request, "jpeg").as_numpy().ravel()
        pixels = np.stack([self.prepared(jpeg) for jpeg in jpegs])
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", pixels)])
