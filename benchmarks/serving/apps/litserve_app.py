"""LitServe: batches of uploaded pictures, decoded in the worker, as its image example has it."""

import common
import litserve


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.graph = common.session()

    def decode_request(self, request):
        return common.prepared(request["picture"].file.read())

    def batch(self, inputs):
        return list(inputs)

    def predict(self, pictures):
        if common.BATCH == 1:  # LitServe then hands over one, and `batch` is not called
            return common.labels(self.graph, [pictures])[0]
        return common.labels(self.graph, pictures)

    def unbatch(self, found):
        return found

    def encode_response(self, label):
        return {"label": label}


if __name__ == "__main__":
    api = Classifier(max_batch_size=common.BATCH, batch_timeout=0.005, api_path="/classify")
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=common.WORKERS, timeout=60
    )
    server.run(port=common.PORT, generate_client_file=False, log_level="warning")
