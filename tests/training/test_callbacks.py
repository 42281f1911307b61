"""Figures in TensorBoard and Weights & Biases."""

import struct
import sys
from types import SimpleNamespace

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

import jfractal as jf
from jfractal.training import TensorBoard, WeightsAndBiases
from tests.training.problems import KEY, MAP, PARAMS, X, Y


def masked(content):
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path):
    """Of a TensorFlow record: length, checksum, content, checksum."""
    file = path.read_bytes()
    while file:
        length, crc_length = struct.unpack("<QI", file[:12])
        content, (crc,) = file[12 : 12 + length], struct.unpack("<I", file[12 + length :][:4])
        assert crc_length == masked(file[:8]) and crc == masked(content)
        yield Event.FromString(content)
        file = file[16 + length :]


def test_tensorboard_reads_what_was_written(tmp_path):
    rows = []
    directory = tmp_path / "made" / "anew"
    callbacks = [TensorBoard(directory), rows.append]
    options = {"num_epochs": 2, "batch_size": 8, "validation": (X, Y), "log_every": 2}
    jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=callbacks, **options)
    (path,) = directory.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    version, start, *scalars = events(path)
    assert version.file_version == "brain.Event:2"
    # TensorBoard hides what a fit wrote after the checkpoint from which it is resumed.
    assert start.session_log.status == SessionLog.START and start.step == 2
    assert len(scalars) == len(rows) == 7
    for event, row in zip(scalars, rows):
        values = {value.tag: value.simple_value for value in event.summary.value}
        assert event.step == row["step"]
        assert values == pytest.approx({k: v for k, v in row.items() if k != "step"})
    assert "validation/nll" in rows[2] and "nll" in rows[0]


def test_weights_and_biases(monkeypatch):
    made, logged, rows = [], [], []

    def init(**settings):
        made.append(settings)
        return SimpleNamespace(log=lambda row, step: logged.append({**row, "step": step}))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    callbacks = [WeightsAndBiases(project="fractal"), rows.append]
    assert made == []
    jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=4, log_every=2, callbacks=callbacks)
    assert made == [{"project": "fractal"}] and logged == rows and len(rows) == 2
    run = init()
    WeightsAndBiases(run)(rows[0])
    assert logged[-1] == rows[0]
    with pytest.raises(jf.InputError, match="`run` has settings already, got project"):
        WeightsAndBiases(run, project="fractal")


def test_not_installed(monkeypatch, tmp_path):
    for name in list(sys.modules):
        if name.partition(".")[0] == "tensorboardX":
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(jf.InputError, match=r"^`tensorboardX` is not .* 'jfractal\[tensorboard\]'"):
        TensorBoard(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(jf.InputError, match=r"`wandb` is not .* 'jfractal\[wandb\]'"):
        WeightsAndBiases()
