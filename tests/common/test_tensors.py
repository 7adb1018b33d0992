"""The safetensors format, held against the package of that name in both directions."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load, save

from siphonwatch.models.common.tensors import DTYPES, TensorsError, read_tensors, write_tensors

some = st.dictionaries(
    st.text("abc._", min_size=1, max_size=5),
    st.sampled_from(sorted(DTYPES.values())).flatmap(
        lambda dtype: arrays_of.arrays(np.dtype(dtype), arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    max_size=4,
)


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(some)
def test_arrays_come_back_and_the_package_reads_and_writes_the_same(tensors: dict[str, np.ndarray]) -> None:
    data = write_tensors(tensors)
    same(read_tensors(data), tensors)
    same(load(data), tensors)
    same(read_tensors(save(tensors)), tensors)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise(data: bytes) -> None:
    try:
        read_tensors(data)
    except TensorsError:
        return
    assert len(data) >= 10


def test_elements_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(TensorsError, match="array a has elements of type object"):
        write_tensors({"a": np.array([object()])})
    with pytest.raises(TensorsError, match="of type <U1"):
        write_tensors({"a": np.array(["x"])})


def test_an_array_that_is_not_where_the_header_says_is_refused() -> None:
    def file(header: bytes, body: bytes) -> bytes:
        return struct.pack("<Q", len(header)) + header + body

    for header, body in (
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"1234"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', b"123456789012"),
        (b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"123456789"),
        (b'{"a":{"dtype":"O","shape":[1],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}', b""),
        (b'{"a":{"dtype":"F32","shape":[' + b"1," * 99 + b'1],"data_offsets":[0,4]}}', b"1234"),
        (b"[" * 2000, b""),
    ):
        with pytest.raises(TensorsError):
            read_tensors(file(header, body))
