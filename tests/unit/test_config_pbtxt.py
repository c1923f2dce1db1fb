from pathlib import Path

import pytest
from google.protobuf import text_format

from kokeshi.card import Card, CheckpointCard, PaperCard, Parity
from kokeshi.contract import ImageInput, Meaning, Output, TextInput
from kokeshi.engines.config import (
    Accelerator,
    AllVersions,
    DynamicBatching,
    InstanceGroup,
    Latest,
    ModelConfig,
    QueuePolicy,
    Reshape,
    Specific,
    VersionPolicy,
    card_from,
    config_for,
    from_pbtxt,
    read_card,
    to_pbtxt,
    updated_pbtxt,
)
from kokeshi.errors import ArtefactError

GOLDEN = Path(__file__).parents[1] / "golden"


def a_card(**changes) -> Card:
    return Card(
        name="dolls",
        version=3,
        method="dolls",
        paper=PaperCard(title='"Dolls" à la Hakone', authors="A", year=2020, url="https://e.org"),
        checkpoint=CheckpointCard(source="dolls.pth", sha256="ab", licence="MIT"),
        model_sha256="cd",
        space="ef",
        input=ImageInput(height=224, width=160),
        outputs=(
            Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=(3,)),
            Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(8,), dimensions=(4, 8)),
        ),
        labels=("ash", "birch", "cherry"),
        parity=Parity(reference="torch", images=8, noise=8, batch_sizes=(1, 2), agreements=()),
        exported_by={"kokeshi": "0.1.0"},
    ).model_copy(update=changes)


CARDS = {
    "classifier": a_card(),
    "segmenter": a_card(
        labels=(),
        outputs=(
            Output(name="label_map", meaning=Meaning.LABEL_MAP, shape=(224, 160)),
            Output(name="foreground", meaning=Meaning.FOREGROUND, shape=(224, 160)),
        ),
    ),
    "text_tower": a_card(
        name="dolls.text",
        role="text",
        parts={"image": "dolls.image", "text": "dolls.text"},
        labels=(),
        input=TextInput(context_length=77, end_id=49407, tokenizer_sha256="01"),
        outputs=(Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(8,)),),
    ),
}


def message_of(text):
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("name", CARDS)
def test_the_written_text_is_the_golden_one_and_triton_reads_it(name):
    text = to_pbtxt(config_for(CARDS[name]))
    assert text == (GOLDEN / f"{name}.pbtxt").read_text("utf-8")
    assert message_of(text).parameters["kokeshi"].string_value == CARDS[name].model_dump_json()


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("rows", [0, 1, 32])
def test_a_configuration_is_read_back_as_it_was_written(name, rows):
    config = config_for(CARDS[name], rows)
    assert from_pbtxt(to_pbtxt(config)) == config
    assert card_from(from_pbtxt(to_pbtxt(config))) == CARDS[name]


def test_dims_leave_the_batch_axis_out_only_when_batching():
    batched, alone = (config_for(CARDS["classifier"], rows) for rows in (8, 0))
    assert (batched.input[0].dims, alone.input[0].dims) == ((224, 160, 3), (-1, 224, 160, 3))
    assert (batched.output[0].dims, alone.output[0].dims) == ((3,), (-1, 3))
    assert alone.dynamic_batching is None


def test_only_outputs_of_classes_have_labels():
    outputs = config_for(CARDS["classifier"]).output
    assert [output.label_filename for output in outputs] == ["labels.txt", ""]
    assert config_for(a_card(labels=())).output[0].label_filename == ""


def test_the_queue_is_bounded_and_nobody_waits_for_company():
    batching = config_for(CARDS["classifier"]).dynamic_batching
    assert batching.max_queue_delay_microseconds == 0
    assert batching.default_queue_policy.max_queue_size == 1024


HAND_WRITTEN = """
name: "resnet"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [{ name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [3, -1, -1] }]
output { name: "y" data_type: TYPE_FP32 dims: [1000] label_filename: "labels.txt"
  reshape { shape: [10, 100] } }
version_policy: { specific: { versions: [1, 3] } }
dynamic_batching {
  preferred_batch_size: [4, 8]
  max_queue_delay_microseconds: 100
  preserve_ordering: true
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5000000 }
  priority_queue_policy { key: 1 value { max_queue_size: 7 } }
}
instance_group [{ kind: KIND_CPU count: 2 }, { kind: KIND_GPU gpus: [0, 1] }]
optimization { execution_accelerators { gpu_execution_accelerator: [{
  name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }] } }
model_warmup { name: "w" batch_size: 4 count: 2
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [3, 224, 224] random_data: true } } }
response_cache { enable: true }
parameters { key: "gpu_mem_limit" value { string_value: "1" } }
"""


def test_what_an_operator_writes_is_understood():
    config = from_pbtxt(HAND_WRITTEN)
    assert config.input[0].dims == (3, -1, -1)
    assert config.version_policy == VersionPolicy(specific=Specific(versions=(1, 3)))
    assert config.dynamic_batching is not None
    assert config.dynamic_batching.preferred_batch_size == (4, 8)
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert config.dynamic_batching.default_queue_policy.timeout_action == "DELAY"
    assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 5_000_000
    assert config.dynamic_batching.preserve_ordering
    assert config.dynamic_batching.priority_levels == 3
    assert config.dynamic_batching.default_priority_level == 2
    assert config.dynamic_batching.priority_queue_policy == {1: QueuePolicy(max_queue_size=7)}
    assert config.response_cache.enable
    assert config.output[0].reshape == Reshape(shape=(10, 100))
    assert config.input[0].reshape is None
    assert config.instance_group == (
        InstanceGroup(kind="KIND_CPU", count=2),
        InstanceGroup(kind="KIND_GPU", gpus=(0, 1)),
    )
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerators == (Accelerator(name="tensorrt", parameters={"precision_mode": "FP16"}),)
    assert (config.model_warmup[0].count, config.model_warmup[0].batch_size) == (2, 4)
    assert config.model_warmup[0].inputs["x"].random_data
    assert config.parameters == {"gpu_mem_limit": "1"}
    assert from_pbtxt(to_pbtxt(config)) == config


def test_empty_dynamic_batching_is_still_dynamic_batching():
    assert from_pbtxt("dynamic_batching { }").dynamic_batching == DynamicBatching()
    assert from_pbtxt("").dynamic_batching is None
    assert "dynamic_batching" in to_pbtxt(ModelConfig(dynamic_batching=DynamicBatching()))


@pytest.mark.parametrize(
    ("text", "policy", "served"),
    [
        ("", VersionPolicy(), (10,)),
        ("version_policy { latest { num_versions: 2 } }", None, (9, 10)),
        ("version_policy { all { } }", VersionPolicy(all=AllVersions()), (1, 9, 10)),
        ("version_policy { specific { versions: [9, 11] } }", None, (9,)),
        (
            "version_policy { latest { num_versions: 7 } }",
            VersionPolicy(latest=Latest(num_versions=7)),
            (1, 9, 10),
        ),
    ],
)
def test_the_version_policy_selects(text, policy, served):
    config = from_pbtxt(text)
    assert config.version_policy.select([9, 10, 1]) == served
    assert from_pbtxt(to_pbtxt(config)) == config
    assert policy is None or config.version_policy == policy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name: "a"\nmax_batch: 3\n', "line 2: .*max_batch"),
        ('name: "a"\n\ninput [{ name: "x" }', "line 3"),
        ('name: "a"\nmax_batch_size: many', "line 2"),
        ("\ninput { data_type: TYPE_UINT7 }", "line 2: .*TYPE_UINT7"),
    ],
)
def test_what_triton_would_refuse_is_refused_with_its_line(text, words):
    with pytest.raises(ArtefactError, match=words):
        from_pbtxt(text)


def test_a_configuration_without_a_card_is_no_model_of_ours():
    with pytest.raises(ArtefactError, match=r"'resnet' has no parameter 'kokeshi'"):
        card_from(from_pbtxt(HAND_WRITTEN))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "document"),
        ("{}", "name: field required"),
        (CARDS["classifier"].model_dump_json().replace(":1,", ":9,", 1), "schema_version"),
        (CARDS["classifier"].model_dump_json().replace("{", '{"colour": 1, ', 1), "colour"),
    ],
)
def test_a_card_that_cannot_be_read_says_where(text, words):
    with pytest.raises(ArtefactError, match=f"card of model 'dolls': .*{words}"):
        read_card("dolls", text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dims: [224, 160, 3]", "dims: [1, 224, 160, 3]", r"\[1, 224, 160, 3\], its card says"),
        ("TYPE_UINT8", "TYPE_FP32", "image TYPE_FP32"),
        ('name: "embedding"', 'name: "vector"', "vector"),
        ('name: "dolls"', 'name: "renamed"', "'renamed' holds the card of 'dolls'"),
    ],
)
def test_a_configuration_that_contradicts_its_card_is_refused(old, new, words):
    text = (GOLDEN / "classifier.pbtxt").read_text("utf-8")
    with pytest.raises(ArtefactError, match=words):
        card_from(from_pbtxt(text.replace(old, new, 1)))


def test_an_update_takes_the_graph_and_keeps_the_tuning():
    tuned = HAND_WRITTEN + 'parameters { key: "kokeshi" value { string_value: "old" } }'
    fresh = config_for(CARDS["classifier"], 16)
    text = updated_pbtxt(tuned, fresh)
    config, before = from_pbtxt(text), from_pbtxt(HAND_WRITTEN)
    assert (config.input, config.output, config.name) == (fresh.input, fresh.output, "dolls")
    assert (config.platform, config.backend) == ("", "onnxruntime")
    assert (config.max_batch_size, config.model_warmup) == (16, fresh.model_warmup)
    assert card_from(config) == CARDS["classifier"]
    assert config.parameters["gpu_mem_limit"] == "1"
    assert config.dynamic_batching == before.dynamic_batching
    assert config.instance_group == before.instance_group
    assert config.version_policy == before.version_policy
    assert config.optimization == before.optimization
    assert message_of(text).response_cache.enable
    assert message_of(text).dynamic_batching.preserve_ordering
