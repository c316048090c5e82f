"""Which device a model goes to, and what is said when that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.engines import EngineMaker
from fakes.fake_devices import CPU, GPU, GPU_0, GPU_1, NPU, NPU_WITHOUT_DRIVER, FixedDevices
from serving import LLM

from npu_jupyter.engine.devices import Device, Devices, discover
from npu_jupyter.errors import DeviceUnavailable, LoadFailed
from npu_jupyter.registry.records import ModelFormat, ModelRecord, ModelType

pytestmark = pytest.mark.asyncio

IR = ModelRecord(1, "ir", ModelType.LLM, ModelFormat.OPENVINO, Path("ir"), "hf:o/ir", 0, 1)
GGUF = replace(IR, name="gguf", format=ModelFormat.GGUF, source="hf:o/gguf")
EMBEDDER = replace(IR, name="embedder", type=ModelType.EMBEDDING)


@pytest.mark.parametrize(
    ("model", "here", "order"),
    [
        (IR, [CPU, GPU, NPU], [NPU, GPU, CPU]),
        (IR, [CPU, GPU_0, GPU_1], [GPU_0, GPU_1, CPU]),
        (IR, [CPU, NPU_WITHOUT_DRIVER], [CPU]),
        (GGUF, [CPU, GPU, NPU], [GPU, CPU]),
        (EMBEDDER, [CPU, NPU], [CPU]),
        (IR, [], []),
    ],
)
async def test_the_best_device_that_can_run_a_model_comes_first(
    model: ModelRecord, here: list[Device], order: list[Device]
) -> None:
    assert await FixedDevices(*here).candidates(model, None) == order


@pytest.mark.parametrize(
    ("asked", "here", "got"),
    [
        ("CPU", [CPU, GPU, NPU], CPU),
        ("cpu", [CPU, GPU], CPU),
        ("GPU", [CPU, GPU], GPU),
        ("GPU.0", [CPU, GPU], GPU),
        ("GPU.1", [CPU, GPU_0, GPU_1], GPU_1),
        ("GPU", [CPU, GPU_0, GPU_1], GPU_0),
        ("NPU", [CPU, NPU], NPU),
    ],
)
async def test_who_asks_for_a_device_gets_that_one_alone(
    asked: str, here: list[Device], got: Device
) -> None:
    assert await FixedDevices(*here).candidates(IR, asked) == [got]


@pytest.mark.parametrize(
    ("asked", "here", "model", "says"),
    [
        ("NPU", [CPU, GPU], IR, "There is no device NPU .* CPU, GPU"),
        ("GPU.1", [CPU, GPU], IR, "There is no device GPU.1 .* CPU, GPU"),
        ("TPU", [CPU], IR, "There is no device TPU"),
        ("NPU", [CPU, NPU_WITHOUT_DRIVER], IR, "Install the driver"),
        ("NPU", [CPU, NPU], GGUF, "jupyter npu pull hf:o/gguf --precision int4"),
        ("NPU", [CPU, NPU], EMBEDDER, "run on CPU and GPU"),
    ],
)
async def test_a_device_that_cannot_be_had_is_an_error_that_helps(
    asked: str, here: list[Device], model: ModelRecord, says: str
) -> None:
    with pytest.raises(DeviceUnavailable, match=says) as caught:
        await FixedDevices(*here).candidates(model, asked)
    assert caught.value.param == "device"
    assert caught.value.status == 400


async def test_this_machine_has_a_cpu_that_openvino_describes() -> None:
    found = {device.name: device for device in discover()}
    cpu = found["CPU"]
    assert cpu.available
    assert cpu.full_name
    assert cpu.memory_bytes
    assert "FP32" in cpu.capabilities
    unusable = [device for device in found.values() if not device.available]
    assert all(device.advice for device in unusable)


async def test_devices_are_looked_for_once() -> None:
    devices = Devices()
    assert await devices.all() is await devices.all()


async def test_a_device_that_fails_leaves_the_model_to_the_next(fake_engine: EngineMaker) -> None:
    async with fake_engine({"refused_on": ["GPU"]}, devices=(GPU, CPU)) as engine:
        assert (await engine.load(LLM)).device == "CPU"


async def test_a_device_that_was_asked_for_and_fails_is_an_error(fake_engine: EngineMaker) -> None:
    async with fake_engine({"refused_on": ["GPU"]}, devices=(GPU, CPU)) as engine:
        with pytest.raises(LoadFailed, match="these weights are bent"):
            await engine.load(LLM, device="GPU")
        assert engine.status() == []
        assert (await engine.load(LLM, device="CPU")).device == "CPU"


async def test_a_loaded_model_moves_to_the_device_that_is_asked_for(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine(devices=(GPU, CPU)) as engine:
        assert (await engine.load(LLM)).device == "GPU"
        again = await engine.load(LLM, device="gpu")
        assert again.already_loaded
        moved = await engine.load(LLM, device="CPU")
        assert (moved.device, moved.already_loaded) == ("CPU", False)
        with pytest.raises(DeviceUnavailable):
            await engine.load(LLM, device="NPU")
        assert [model.device for model in engine.status()] == ["CPU"]


async def test_two_who_ask_for_two_devices_at_once_each_get_theirs(
    fake_engine: EngineMaker,
) -> None:
    async with fake_engine({"load_s": 0.3}, devices=(GPU, CPU)) as engine:
        first = engine.load_events(LLM, device="GPU")
        await anext(first)
        assert (await engine.load(LLM, device="CPU")).device == "CPU"
        await first.aclose()
