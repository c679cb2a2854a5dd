"""What a cubin says of its kernels: the size of their parameters, so that a struct that was changed on one side only is found at once.

A cubin is an ELF file. The section .nv.info.<kernel> is a list of records (format, attribute, 16 bits); the 16 bits are a value or, in
records of format 4, the number of bytes that follow. Undocumented, but the same from sm_75 to sm_120.
"""

import struct

_SIZED = 4  # format of a record that is followed by bytes
_PARAMETER_BYTES = 0x19  # EIATTR_CBANK_PARAM_SIZE


def parameter_bytes(cubin: bytes) -> dict[str, int]:
    """sizeof of the parameters of each kernel, by the kernel's name. Raises ValueError for what is not a 64-bit ELF file."""
    if cubin[:5] != b'\x7fELF\x02':
        raise ValueError(f'not a cubin: it starts with {cubin[:5]!r}')
    (table,) = struct.unpack_from('<Q', cubin, 0x28)
    stride, count, names_index = struct.unpack_from('<3H', cubin, 0x3A)
    # Of a section header: where its name lies within the section of names, and where its content lies in the file.
    headers = [struct.unpack_from('<I20xQQ', cubin, table + stride * index) for index in range(count)]
    names = headers[names_index][1]
    found = {}
    for name_offset, offset, size in headers:
        start = names + name_offset
        name = cubin[start : cubin.index(b'\0', start)].decode()
        if name.startswith('.nv.info.'):
            found[name.removeprefix('.nv.info.')] = _value(cubin[offset : offset + size], _PARAMETER_BYTES)
    return found


def _value(records: bytes, wanted: int) -> int:
    """The value of an attribute; 0 if it is not there (a kernel without parameters)."""
    position = 0
    while position < len(records):
        layout, attribute, value = struct.unpack_from('<BBH', records, position)
        if attribute == wanted:
            return value
        position += 4 + (value if layout == _SIZED else 0)
    return 0
