"""What is accepted as a header block says the same to us, to its rewritten form and to an independent decoder.

The first octet is where a second block begins, in 256ths of the input: it may refer to the table of the first.
"""

from __future__ import annotations

import hpack
from hpack.exceptions import HPACKError

from proxy.wire.h2.faults import ConnectionFault
from proxy.wire.h2.hpack import Table, text_of
from proxy.wire.h2.huffman import suspect
from proxy.wire.h2.template import Template, fields_of, shape_of


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    cut = 1 + data[0] * (len(data) - 1) // 256
    table, decoder = Table(), hpack.Decoder(max_header_list_size=1 << 20)
    for block in (data[1:cut], data[cut:]):
        try:
            plain = table.plain(block)
            fields = list(fields_of(plain))
        except ConnectionFault:
            return
        try:
            theirs = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
        except HPACKError:
            return  # it is stricter with the order of size updates
        assert fields == theirs, (fields, theirs)
        template = Template(plain)
        holes = template.match(plain)
        assert holes is not None
        assert template.fields == fields
        assert len(shape_of(plain)) == len(fields)
        for encoded in holes:
            if any(byte in b"\0\r\n" for byte in text_of(encoded)):
                assert not encoded[0] & 128 or suspect(encoded, 1), encoded
